"""The loss statement: what a failover would give up, said before it is committed.

Only the statement and how it is computed live here. It says at least so much is lost where it knows, and
never that nothing is lost where it does not.
"""

from dataclasses import dataclass

from drsync.core import eligibility
from drsync.core.file_loss import FileLoss, files_lost
from drsync.core.observation import Observation
from drsync.model.copy import Statement
from drsync.model.position import Loss


@dataclass(frozen=True, slots=True)
class CenterNote:
    """What one center contributes to the picture."""

    center: str
    text: str


@dataclass(frozen=True, slots=True)
class LossStatement:
    """What opening at `target` gives up.

    Attributes:
        target: center that would own the group.
        loss: what the opening would admit.
        position: last record it would open at.
        records_at_least: committed records known to be beyond it.
        bytes_lost: None: unknown.
        from_us: nothing before this wall-clock label is lost; None when unknown.
        until_us: label of the newest write known to be lost; None when none is known.
        centers: one line for each member.
        may_lose_acknowledged: whether acknowledged writes may be among the lost.
        files: what it gives up of each tree.
    """

    target: str
    loss: Loss
    position: int
    records_at_least: int
    bytes_lost: int | None
    from_us: int | None
    until_us: int | None
    centers: tuple[CenterNote, ...]
    may_lose_acknowledged: bool
    files: tuple[FileLoss, ...] = ()


def loss(seen: Observation) -> LossStatement:
    """The loss statement of an opening at the target, as far as the reached members tell."""
    verdict = eligibility.judge(seen)
    at_least = known_lost(seen, verdict.position) if verdict.loss is Loss.FORCED else 0
    from_us, until_us = _when(seen, verdict)
    return LossStatement(
        target=seen.target,
        loss=verdict.loss,
        position=verdict.position,
        records_at_least=at_least,
        bytes_lost=0 if verdict.loss is Loss.NONE else None,
        from_us=from_us,
        until_us=until_us,
        centers=tuple(CenterNote(name, _note(seen, name)) for name in seen.members),
        may_lose_acknowledged=verdict.loss is not Loss.NONE,
        files=files_lost(seen),
    )


def known_lost(seen: Observation, position: int) -> int:
    """Committed records beyond `position`, by everybody's knowledge."""
    heard = [_heard_commit(seen, word) for word in seen.statements.values()]
    if seen.last_known is not None:
        heard.append(seen.last_known.commit)
    return max(0, max(heard, default=0) - position)


def _heard_commit(seen: Observation, word: Statement) -> int:
    """What a member heard of commits in this history; one that follows an older epoch knows of forks, too."""
    if word.follow == seen.charter.epoch:
        return word.commit
    return min(word.commit, eligibility.belongs(seen.charter, word))


def _when(seen: Observation, verdict: eligibility.Verdict) -> tuple[int | None, int | None]:
    last = seen.last_known
    if last is None or verdict.loss is Loss.NONE:
        return None, None
    if verdict.position >= last.commit:
        return last.time_us, None
    return None, last.time_us


def _note(seen: Observation, name: str) -> str:
    word = seen.statements.get(name)
    if word is not None:
        return _about(seen, word)
    last = seen.last_known
    if name == seen.charter.owner and last is not None:
        age = seen.now - last.heard_at
        return f"not reached; {age:.0f} s ago it had committed up to {last.commit}"
    return "not reached"


def _about(seen: Observation, word: Statement) -> str:
    flags = [
        text
        for text, is_set in (("restarted uncleanly", word.unclean), ("went back", word.amnesic))
        if is_set
    ]
    stands = f"{word.state.value}, stands at {eligibility.belongs(seen.charter, word)}"
    in_sync = "in sync" if word.center in seen.charter.in_sync else "not in sync"
    return ", ".join([stands, in_sync, *flags])
