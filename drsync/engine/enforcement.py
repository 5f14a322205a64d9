"""Keeping a group's RPO target: looks at each asynchronous peer, and turns what `core.pacing` says into acts.

Belongs to one term. Peers that writes may wait for are left out: they are in sync, or catching up to be so.
"""

from collections.abc import Callable, Mapping

from drsync.core.pacing import HARDER_SHARE, WORDS, Behind, Step, Verdict, judge, slowest
from drsync.engine.attach import Attachment
from drsync.engine.lag import Lag
from drsync.engine.owner import OwnerEngine
from drsync.model.group import GroupSpec, Mode


class Enforcer:
    """What is done in one term to hold the target.

    Attributes:
        verdicts: by asynchronous peer.
    """

    def __init__(self, spec: GroupSpec, owner: str, engine: OwnerEngine, lag: Callable[[str], Lag]) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self._target_s = spec.objectives.rpo_s
        self._engine = engine
        self._lag = lag
        near = () if spec.policy.mode is Mode.ASYNC else spec.mates(owner)
        self._far = [m.name for m in spec.members if m.name != owner and m.name not in near]
        engine.pacer.max_s = spec.policy.max_pace_s

    def tick(self, attachments: Mapping[str, Attachment]) -> None:
        """Judge everybody again, and pace as the slowest needs it."""
        for center in self._far:
            attachment = attachments.get(center)
            is_fed = attachment is not None and not attachment.is_lost
            drain = attachment.sender.drain if attachment is not None else 0.0
            lag = self._lag(center)
            behind = Behind(lag.seconds, is_fed=is_fed, lacks=lag.bytes, drain=drain)
            self.verdicts[center] = judge(self.verdicts.get(center, Verdict()), behind, self._target_s)
        self._engine.pacer.rate = slowest(list(self.verdicts.values())) if self._engine.pacer.max_s else 0.0

    def pressure(self, center: str) -> float:
        """Lag as a share of what it may be, once something is to be done about it; else 0."""
        verdict = self.verdicts.get(center)
        if verdict is None or verdict.step is Step.STREAM:
            return 0.0
        return max(verdict.share, HARDER_SHARE if verdict.step >= Step.HARDER else 0.0)

    def words(self, center: str) -> str:
        """What is done for that peer, for people; empty when nothing is."""
        verdict = self.verdicts.get(center)
        return WORDS[verdict.step] if verdict is not None else ""
