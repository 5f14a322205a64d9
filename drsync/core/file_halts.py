"""When a tree is not believed: its root is missing or another one, or the change is too large to be meant.

A hold stops cutting generations, so that nothing reaches a peer; it never changes anything. A person's word
lets the next change of the tree pass, and is used up by it (F.15).
"""

from typing import NamedTuple, Protocol

from drsync.model.fileset import Generation, HoldReason
from drsync.model.scan import RootIdentity

CHANGES_FREE = 1000  # because a build or a clean-up makes that many
TAKEOVER_FREE = 100  # because services that start at once may clear away what they left
CHANGES_SHARE = 0.3  # because beyond it somebody should look: half a tree is rarely meant


class Hold(NamedTuple):
    """Why a tree stands still, and what a person can do. `may_approve`: their word is enough."""

    reason: HoldReason
    what: str
    remedy: str
    may_approve: bool = False


class Facts(Protocol):
    """What an index says of its tree (`drsync.ports.file_index.IndexState`)."""

    @property
    def held(self) -> Generation:
        """Generation that the index describes."""
        ...

    @property
    def entries(self) -> int:
        """Live ones, the root included."""
        ...

    @property
    def root(self) -> RootIdentity | None:
        """The root it is about, once it was seen."""
        ...

    @property
    def approved(self) -> bool:
        """A person has said that the next change is meant."""
        ...


APPROVE = "If this is meant: drsync files approve GROUP/SET --reason TEXT."


def judge_root(
    fileset: str, facts: Facts, found: RootIdentity | None, *, is_owner: bool, is_free: bool = False
) -> Hold | None:
    """Whether the root is the one the index is about. None: it is, or it may become it.

    At the owner a root that was never seen before is taken as it is. At a replica it must be empty or a
    directory of our own (`is_free`), or bear the mark, since what is in it would be overwritten. A root that
    the index knows must stay the same; one that bears the mark and is another directory, as after a restore,
    may be approved; at a replica, whose tree is sent again, one without it too, as after a disk was replaced.
    """
    if found is None:
        return Hold(
            HoldReason.ROOT_MISSING,
            "the root of the tree is missing",
            "Mount or make it; nothing is deleted anywhere meanwhile.",
        )
    if found.mark and found.mark != fileset:
        return _foreign(f"the root belongs to another file set ({found.mark[:32]})", may_approve=False)
    known = facts.root
    if known is None:
        if found.mark or is_owner or is_free or facts.approved:
            return None
        return _foreign("the directory has content that is not of this set", may_approve=True)
    if not found.mark and known.mark:
        if is_owner or not facts.approved:
            return _foreign(
                "the root has lost its mark: it may be an empty mount point", may_approve=not is_owner
            )
        return None
    # With the mark the inode is enough: some file systems have another id at each mount.
    is_same = found.ino == known.ino and (bool(found.mark) or found.device == known.device)
    if not is_same and not facts.approved:
        return _foreign("the root is another directory or file system than before", may_approve=True)
    return None


def judge_takeover(facts: Facts, gone: int) -> Hold | None:
    """Whether a tree that was only followed here may be owned although names of it are gone.

    Its first generation would delete them everywhere, in what may be the last good copy too.
    """
    if facts.approved or gone <= TAKEOVER_FREE:
        return None
    return Hold(
        HoldReason.MASS_CHANGE,
        f"{gone} of {facts.entries} names are gone since they were written here",
        APPROVE,
        may_approve=True,
    )


def judge_changes(facts: Facts, removed: int, *, is_emptied: bool = False, replaced: int = 0) -> Hold | None:
    """Whether the changes that a scan found may be meant.

    Args:
        facts: `entries` counts the root too.
        removed: names that are gone.
        replaced: names that are of another kind now.
        is_emptied: a complete scan found nothing but the root, and the index has two names or more.
    """
    if facts.approved:
        return None
    if is_emptied:
        return Hold(HoldReason.ROOT_EMPTIED, "everything in the tree is gone", APPROVE, may_approve=True)
    limit = max(CHANGES_FREE, int(facts.entries * CHANGES_SHARE))
    if removed + replaced > limit:
        return Hold(
            HoldReason.MASS_CHANGE,
            f"{removed} of {facts.entries} names are gone and {replaced} are of another kind;"
            f" {limit} at once pass without a word",
            APPROVE,
            may_approve=True,
        )
    return None


def uses_approval(facts: Facts, *, is_partial: bool) -> bool:
    """Whether the word of a person is used up by a change that went through.

    After the first complete look, needed or not: it was about what the tree is like now.
    """
    return facts.approved and not is_partial


def _foreign(what: str, *, may_approve: bool) -> Hold:
    remedy = (
        APPROVE if may_approve else "Mount or put back the right one; nothing is deleted anywhere meanwhile."
    )
    return Hold(HoldReason.ROOT_FOREIGN, what, remedy, may_approve)
