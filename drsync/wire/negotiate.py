"""Agreeing on a version: who may talk to whom, and in which protocol. Pure; both sides say why not.

Each side speaks a range of versions, at least N and N-1, so that centers can be upgraded one at a time in
any order (F.17). The highest common one is used. A feature is used when both name it; a critical one that
the other side does not name ends the link before anything else is said.
"""

from typing import Final, NamedTuple

from drsync.model.errors import RefusedError
from drsync.wire.control import Hello, Welcome

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1
FEATURE_ZSTD: Final = "zstd"
"""BATCHES on bulk links may be COMPRESSED: a member says so in its answer to `group.attach`."""
FEATURE_RESYNC: Final = "resync"
"""A member takes resync sessions (`group.resync`, frames from RESYNC_BEGIN on)."""
FEATURE_PAGES: Final = "resync_pages"
"""In a resync session a member tells what it holds by pages, and takes pages (PAGES_WANT)."""
FEATURE_CURSORS: Final = "cursors"
"""A member keeps journal or marks for each other member by itself: CURSORS instead of RETAIN."""
FEATURE_SYNC: Final = "sync"
"""A member looks at the sync seq of BATCHES; to others only a SYNC says that something is to be durable."""
FEATURES: Final[tuple[str, ...]] = ()
"""What this version offers in HELLO. Not `zstd`: control links carry no compressed frames."""
FEATURE_RESIZE: Final = "resize"
"""A member knows RESIZE records: without it, it is fed no log that holds one."""
MEMBER_FEATURES: Final = (
    FEATURE_ZSTD,
    FEATURE_CURSORS,
    FEATURE_RESYNC,
    FEATURE_PAGES,
    FEATURE_SYNC,
    FEATURE_RESIZE,
)
"""What a member can do on the stream of a group; bulk links say no HELLO of their own."""


class Agreed(NamedTuple):
    """What holds for a link.

    Attributes:
        protocol: version in use.
        features: extras in use, sorted.
        frame_bytes_max: largest body either side takes.
        requests_max: requests the other side answers at once.
    """

    protocol: int
    features: tuple[str, ...]
    frame_bytes_max: int
    requests_max: int


def agree(mine: Hello, theirs: Hello, peer: str) -> Agreed:
    """What to use with `peer`, whose name the transport has authenticated.

    Symmetric in version and features, so that both sides come to the same words.

    Raises:
        RefusedError: another cluster, another center than the key says, another kind of link, no common
            version, or a critical feature one side does not know.
    """
    if theirs.cluster != mine.cluster:
        raise RefusedError(
            f"wrong cluster: {peer} belongs to {theirs.cluster!r}, this side to {mine.cluster!r}",
            code="wrong_cluster",
            remedy="Check the cluster id and the address of this peer in the configuration.",
        )
    if theirs.center != peer:
        raise RefusedError(
            f"{peer} by its key calls itself {theirs.center!r}",
            code="wrong_name",
            remedy="Give every center its own key, and enroll it under its own name.",
        )
    if theirs.kind != mine.kind:
        raise RefusedError(
            f"{peer} speaks of a {theirs.kind!r} link on a {mine.kind!r} link", code="wrong_kind"
        )
    return Agreed(
        _version(mine, theirs, peer),
        _features(mine, theirs, peer),
        min(mine.frame_bytes_max, theirs.frame_bytes_max),
        theirs.requests_max,
    )


def _version(mine: Hello, theirs: Hello, peer: str) -> int:
    highest = min(mine.protocol_max, theirs.protocol_max)
    if highest < max(mine.protocol_min, theirs.protocol_min):
        older = peer if theirs.protocol_max < mine.protocol_min else "this side"
        raise RefusedError(
            f"no common protocol: this side ({mine.software}) speaks {mine.protocol_min} to "
            f"{mine.protocol_max}, {peer} ({theirs.software}) {theirs.protocol_min} to {theirs.protocol_max}",
            code="version",
            remedy=f"Upgrade {older} first, one version at a time.",
        )
    return highest


def _features(mine: Hello, theirs: Hello, peer: str) -> tuple[str, ...]:
    ours = {*mine.features, *mine.critical_features}
    others = {*theirs.features, *theirs.critical_features}
    unknown_here = sorted(set(theirs.critical_features) - ours)
    unknown_there = sorted(set(mine.critical_features) - others)
    if unknown_here or unknown_there:
        whose = f"{peer} insists on {', '.join(unknown_here)}, unknown on this side" if unknown_here else ""
        own = f"this side insists on {', '.join(unknown_there)}, unknown to {peer}" if unknown_there else ""
        raise RefusedError(
            "; ".join(part for part in (whose, own) if part),
            code="feature",
            remedy="Upgrade the side that does not know the feature.",
        )
    return tuple(sorted(ours & others))


def welcome(agreed: Agreed) -> Welcome:
    """The answer to a HELLO that was agreed to."""
    return Welcome(protocol=agreed.protocol, features=agreed.features)


def check_welcome(agreed: Agreed, answer: Welcome, peer: str) -> None:
    """Compare what both sides came to.

    Raises:
        RefusedError: `peer` drew another conclusion from the same two offers.
    """
    if (agreed.protocol, agreed.features) != (answer.protocol, tuple(sorted(answer.features))):
        raise RefusedError(
            f"{peer} chose protocol {answer.protocol} with {', '.join(answer.features) or 'no features'}; "
            f"{agreed.protocol} with {', '.join(agreed.features) or 'no features'} follows from both offers",
            code="version",
        )
