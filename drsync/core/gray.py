"""When an owner that serves counts as slow: an alarm, and never a reason to depose it (`detection`)."""

from collections.abc import Sequence

from drsync.model.group import GroupPolicy

WINDOW_S = 30.0  # because a condition lasts that long, and an alarm should end soon after it
SLOW_SHARE = 0.01  # because the limit is for the 99th percentile
SLOW_BEATS = 3  # because one stall that ends is no condition; three heartbeats tell of one


def trouble(
    policy: GroupPolicy, holds: str, late_beats: int, beats: Sequence[Sequence[int]], bounds: Sequence[float]
) -> str:
    """Why a serving owner counts as slow; empty when it does not.

    Args:
        policy: of the group.
        holds: why it takes no writes although it is open; empty when it takes them.
        late_beats: heartbeats of the last half minute that came late.
        beats: commits that each heartbeat of the last half minute told of, by how long they took.
        bounds: upper bounds of those counts, seconds; the last count has none.
    """
    if holds:
        return f"it holds writes: {holds}"
    if late_beats >= SLOW_BEATS:
        return f"{late_beats} of its heartbeats came late within half a minute"
    if not policy.slow_commit_s:
        return ""
    first = next((n for n, bound in enumerate(bounds) if bound >= policy.slow_commit_s), len(bounds)) + 1
    slow = [sum(counts[first:]) for counts in beats]
    share = sum(slow) / max(1, sum(map(sum, beats)))
    if share < SLOW_SHARE or sum(1 for count in slow if count) < SLOW_BEATS:
        return ""
    return f"{share:.0%} of its commits took more than {policy.slow_commit_s:g} s"
