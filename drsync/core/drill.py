"""What a drill proves. Everything that turns findings into a verdict is here; measuring is elsewhere.

The order of the reasons is the order of importance; a drill passes only when there is none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from drsync.model.drill import Cleanup, Content, TreeFinding, Verdict, VolumeFinding


@dataclass(frozen=True, slots=True)
class Findings:
    """What was measured. Seconds; None where it never came to it.

    Attributes:
        failure: the sentence of the step that ended the drill early; empty when none did.
        volumes: one finding per volume of the group.
        cleanup: one per view that was asked for.
        trees: one finding per file set of the group.
    """

    failure: str
    volumes: Sequence[VolumeFinding]
    cleanup: Sequence[Cleanup]
    rto_s: float | None
    rto_target_s: float
    rpo_s: float | None
    rpo_target_s: float
    trees: Sequence[TreeFinding] = ()

    @property
    def parts(self) -> list[VolumeFinding | TreeFinding]:
        """Everything whose content is compared."""
        return [*self.volumes, *self.trees]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, what is known of the content as a whole, and why it is not better."""

    verdict: Verdict
    content: Content
    reasons: tuple[str, ...]


def content_of(source_hash: str, drill_hash: str, *, is_comparable: bool) -> Content:
    """One volume's hashes, compared. A hash that is missing proves nothing."""
    if not is_comparable:
        return Content.NOT_COMPARABLE
    if not source_hash or not drill_hash:
        return Content.NOT_CHECKED
    return Content.EQUAL if source_hash == drill_hash else Content.DIFFERENT


def judge(found: Findings) -> Judgement:
    """The verdict. Anything but equal content of *every* volume is no proof of content."""
    content = _whole(found.parts)
    reasons = [*_failures(found, content)]
    if reasons:
        return Judgement(Verdict.FAILED, content, tuple(reasons))
    if content is Content.EQUAL:
        return Judgement(Verdict.PASSED, content, ())
    return Judgement(
        Verdict.OPENED,
        content,
        ("The copy opened, but its content was not compared: the source cannot be read there.",),
    )


def _whole(parts: Sequence[VolumeFinding | TreeFinding]) -> Content:
    """The worst of volumes and trees; a drill of nothing has checked nothing."""
    order = (Content.DIFFERENT, Content.NOT_CHECKED, Content.NOT_COMPARABLE, Content.EQUAL)
    return min((part.content for part in parts), key=order.index, default=Content.NOT_CHECKED)


def _failures(found: Findings, content: Content) -> list[str]:
    reasons = [found.failure] if found.failure else []
    if content is Content.DIFFERENT:
        names = ", ".join(part.name for part in found.parts if part.content is Content.DIFFERENT)
        reasons.append(f"The content of {names} differs from the source at the same position.")
    if content is Content.NOT_CHECKED and not found.failure:
        reasons.append("The content was not checked.")
    if found.rto_s is not None and found.rto_s > found.rto_target_s:
        reasons.append(f"Opening took {found.rto_s:.1f} s; the target is {found.rto_target_s:g} s.")
    if found.rpo_s is not None and found.rpo_s > found.rpo_target_s:
        reasons.append(f"The point was {found.rpo_s:.1f} s old; the target is {found.rpo_target_s:g} s.")
    left = [f"{item.view} at {item.center}" for item in found.cleanup if not item.is_proved]
    if left:
        reasons.append(f"Not proved to be gone: {', '.join(left)}.")
    return reasons
