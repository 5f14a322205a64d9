"""Keeping a group's RPO target: looks at each asynchronous peer, and turns what `core.ladder` says into acts.

Belongs to one term. Peers that writes may wait for are left out: they are in sync, or catching up to be so.
"""

from collections.abc import Callable, Mapping
from typing import Final

from drsync.core import ladder
from drsync.core.ladder import HARDER_SHARE, WORDS, Behind, Measures, Rung, Verdict
from drsync.engine.attach import Attachment
from drsync.engine.lag import Lag
from drsync.engine.owner import OwnerEngine
from drsync.model.group import GroupSpec, Mode

COUNT_S: Final = 2.0  # because counting reads indexes of all that a peer lacks, perhaps of gigabytes


class Enforcer:
    """What is done in one term to hold the target.

    Attributes:
        verdicts: by asynchronous peer.
        measures: what they ask for together.
        sets: by peer, bytes of the granules that changed since its cursor, as they were counted last.
    """

    def __init__(self, spec: GroupSpec, owner: str, engine: OwnerEngine, lag: Callable[[str], Lag]) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self.measures = Measures()
        self.sets: dict[str, int] = {}
        self._count_at: dict[str, float] = {}
        self._target_s = spec.objectives.rpo_s
        self._on_breach = spec.policy.on_breach
        self._engine = engine
        self._lag = lag
        near = () if spec.policy.mode is Mode.ASYNC else spec.mates(owner)
        self._far = [m.name for m in spec.members if m.name != owner and m.name not in near]
        engine.pacer.max_s = spec.policy.max_pace_s

    def tick(self, attachments: Mapping[str, Attachment], takes_set: Callable[[str], bool]) -> None:
        """Judge everybody again, and pace as the slowest needs it. `takes_set`: a delta session runs."""
        engine = self._engine
        for center in self._far:
            attachment = attachments.get(center)
            is_streamed = attachment is not None and not attachment.is_lost
            drain = attachment.sender.drain if attachment is not None and is_streamed else 0.0
            lag = self._lag(center)
            behind = Behind(
                lag.seconds,
                is_fed=is_streamed or takes_set(center),
                lacks=lag.bytes,
                drain=drain,
                set_bytes=self.sets.get(center),
                now=engine.clock.now(),
            )
            self.verdicts[center] = ladder.judge(self.verdicts.get(center, Verdict()), behind, self._target_s)
        self.measures = ladder.measures(self.verdicts, self._on_breach)
        engine.pacer.rate = self.measures.rate if engine.pacer.max_s else 0.0
        engine.stall_for(self.measures.stalls)

    @property
    def is_calm(self) -> bool:
        """Whether everybody was judged, and nothing is done for anybody."""
        known = [verdict for center in self._far if (verdict := self.verdicts.get(center)) is not None]
        is_quiet = all(v.rung is Rung.STREAM and not v.share and not v.gets_sets for v in known)
        return is_quiet and len(known) == len(self._far)

    def to_count(self) -> list[str]:
        """Peers for which it is worth finding out now how large a delta set would be."""
        now, ack_set = self._engine.clock.now(), self._engine.log.ack_set
        return [
            center
            for center, verdict in sorted(self.verdicts.items())
            if now >= self._count_at.get(center, now)
            and ladder.may_get_sets(center, ack_set)
            and ladder.is_to_be_counted(verdict, now)
        ]

    def counted(self, center: str, size: int | None) -> None:
        """Bytes of what a delta set would hold now; None: nobody knows."""
        self._count_at[center] = self._engine.clock.now() + COUNT_S
        if size is None:
            self.sets.pop(center, None)
        else:
            self.sets[center] = size

    def is_in_sets(self, center: str) -> bool:
        """Whether the peer gets sets where they pay."""
        verdict = self.verdicts.get(center)
        return verdict is not None and verdict.gets_sets

    def gets_set(self, center: str) -> bool:
        """Whether the peer is to be sent what changed once, by what was counted last."""
        size = self.sets.get(center)
        if size is None or not self.is_in_sets(center):
            return False
        may = ladder.may_get_sets(center, self._engine.log.ack_set)
        return may and ladder.pays(size, self._lag(center).bytes)

    def pressure(self, center: str) -> float:
        """Lag as a share of what it may be, once something is to be done about it; else 0."""
        verdict = self.verdicts.get(center)
        if verdict is None or verdict.rung is Rung.STREAM:
            return 0.0
        return max(verdict.share, HARDER_SHARE if verdict.rung >= Rung.HARDER else 0.0)

    def words(self, center: str) -> str:
        """What is done for that peer, for people; empty when nothing is."""
        verdict = self.verdicts.get(center)
        if verdict is None:
            return ""
        if verdict.rung is Rung.BREACH and verdict.gets_sets:
            return f"{WORDS[Rung.BREACH]}; {WORDS[Rung.DELTA]}"
        return WORDS[verdict.rung]
