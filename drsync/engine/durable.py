"""What a copy remembers durably: the value of its superblock, and what a finished switch makes of it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace

from drsync.core.resync import EndWord
from drsync.core.sizes import Resize
from drsync.engine.switch import Switch
from drsync.model.charter import Charter
from drsync.model.epoch import NEVER, Epoch
from drsync.model.errors import FailedCopyError
from drsync.model.hold import Hold
from drsync.model.position import EpochStart, History
from drsync.wire import control

FORMAT = 1
FORMAT_SWITCHING = 2  # because a version that knows nothing of switches must not open a copy in one
FORMAT_RENAMING = 4  # because a version that knows only of copying would look for what was renamed
FORMAT_RESIZED = 3  # because a version that knows nothing of RESIZE records would serve the former size
FORMAT_HOLDING = 5  # because a version that knows nothing of holds would trim what is on hold
FORMATS = (FORMAT, FORMAT_SWITCHING, FORMAT_RESIZED, FORMAT_RENAMING, FORMAT_HOLDING)


@dataclass(frozen=True, slots=True)
class Durable:
    """The superblock's value.

    Attributes:
        incarnation: random per formatted store.
        boot_id: of the host at the last start.
        is_clean: the last stop synced everything.
        unclean: the host restarted uncleanly and the copy has not caught up since.
        amnesic: the copy was noticed to have gone back in time.
        promised, follow, history: see Statement.
        applied: the images hold everything up to here.
        reached: the images may hold records up to here.
        durable_hint: records up to here were durable when this was written (never more).
        commit: highest commit heard.
        charter: newest charter seen.
        bound_epoch, bound_until: a failsafe confirmation given to an owner (F.A 24); seconds since boot.
        failure: why this copy may never be used again; empty while it is sound.
        beat_seq, beat_us, beat_epoch: the newest heartbeat that is recoverable here, so that a start need not
            look for one in what the images hold already.
        switch: recorded and to be finished before anything else is done with the copy.
        switched: the end of the last resync session that became this copy.
        cursors: incarnation and position that each other member confirmed; only these release journal.
        resizes: the RESIZE records up to `reached`.
        is_resized: the log holds some, there or above.
        holds: checkpoints on hold; names are unique.
        dirty_generations: generation and store number of each dirty set, so that a lost one is noticed;
            a member without was never marked.
    """

    incarnation: str
    boot_id: str
    is_clean: bool = False
    unclean: bool = False
    amnesic: bool = False
    promised: Epoch = NEVER
    follow: Epoch = NEVER
    history: History = ()
    applied: int = 0
    reached: int = 0
    durable_hint: int = 0
    commit: int = 0
    charter: Charter | None = None
    bound_epoch: Epoch = NEVER
    bound_until: float = 0.0
    failure: str = ""
    beat_seq: int = 0
    beat_us: int = 0
    beat_epoch: Epoch = NEVER
    switch: Switch | None = None
    switched: EndWord | None = None
    cursors: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    dirty_generations: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    resizes: tuple[Resize, ...] = ()
    is_resized: bool = False
    holds: tuple[Hold, ...] = ()

    def encode(self) -> bytes:
        """Canonical JSON."""
        body: dict[str, object] = {
            name: getattr(self, name)
            for name in self.__slots__
            if name not in ("history", "charter", "switch", "switched", "holds")
        }
        if self.switch is not None and self.switch.is_renamed:
            body["format"] = FORMAT_RENAMING
        elif self.is_resized or self.resizes:
            body["format"] = FORMAT_RESIZED
        else:
            body["format"] = FORMAT if self.switch is None else FORMAT_SWITCHING
            del body["is_resized"], body["resizes"]
        if self.holds:
            body["format"] = FORMAT_HOLDING  # whatever else there is: who knows of holds knows of that
            body["holds"] = [hold.fields() for hold in self.holds]
        body["switch"] = self.switch.to_json() if self.switch is not None else None
        body["switched"] = asdict(self.switched) if self.switched is not None else None
        body["history"] = [control.to_json(start) for start in self.history]
        body["charter"] = control.to_json(self.charter) if self.charter else None
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    @staticmethod
    def decode(raw: bytes) -> "Durable":
        """Inverse of `encode`. Raises FailedCopyError for a value this version cannot read."""
        body: dict[str, object] = json.loads(raw)
        if body.pop("format", None) not in FORMATS:
            raise FailedCopyError("the superblock has a format this version does not know", code="version")
        history, charter = body.pop("history"), body.pop("charter")
        switch, switched = body.pop("switch", None), body.pop("switched", None)
        resizes, holds = body.pop("resizes", []), body.pop("holds", [])
        assert isinstance(resizes, list)
        assert isinstance(holds, list)
        for name in ("cursors", "dirty_generations"):
            pairs = body.get(name, {})
            assert isinstance(pairs, dict)
            body[name] = {center: tuple(pair) for center, pair in pairs.items()}
        assert isinstance(history, list)
        return replace(
            _from_body(body),
            history=tuple(control.from_json(EpochStart, start) for start in history),
            charter=control.from_json(Charter, charter) if charter else None,
            switch=Switch.from_json(switch) if isinstance(switch, dict) else None,
            switched=EndWord(**switched) if isinstance(switched, dict) else None,
            resizes=tuple(Resize(*one) for one in resizes),
            holds=tuple(Hold.read(one) for one in holds),
        )

    def after_switch(self) -> "Durable":
        """The value with which a finished switch is over: the copy is the source's log up to p1."""
        switch, charter = self.switch, self.charter
        assert switch is not None
        assert charter is not None
        is_beat_ours = self.beat_seq <= min(switch.fork, switch.p1.seq)
        beat = (self.beat_seq, self.beat_us, self.beat_epoch) if is_beat_ours else (0, 0, NEVER)
        return replace(
            self,
            is_clean=False,
            follow=switch.epoch,
            history=charter.history,
            applied=switch.p0.seq,
            reached=switch.p1.seq,
            durable_hint=switch.p1.seq,
            commit=switch.p1.seq,
            beat_seq=beat[0],
            beat_us=beat[1],
            beat_epoch=beat[2],
            switch=None,
            switched=EndWord(switch.session, switch.generation, switch.p1.seq, switch.size),
            cursors=clamped_cursors(self.cursors, switch.fork),
            resizes=switch.resizes,
            is_resized=bool(switch.resizes),
            holds=(),
        )


def clamped_cursors(cursors: Mapping[str, tuple[str, int]], fork: int) -> Mapping[str, tuple[str, int]]:
    """Cursors once our log goes on after `fork` with other records: by number they say nothing of those."""
    return {center: (incarnation, min(seq, fork)) for center, (incarnation, seq) in cursors.items()}


def _from_body(body: dict[str, object]) -> Durable:
    fields = Durable.__slots__
    known = {name: value for name, value in body.items() if name in fields}
    return Durable(**known)  # type: ignore[arg-type]  # the JSON was written by `encode`, field by field
