"""The switch of a resync: what was put aside becomes the copy, by one recorded step (decision 21).

Before the record nothing of the copy is touched. From it on there is no way back: whoever opens the copy does
the rest again from what is local and durable, as often as it takes. Everything here blocks: for a thread.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from drsync.core import extents
from drsync.core.extents import GRANULE, Extents, Run
from drsync.core.sizes import Resize, Sizes, at_least, first_sizes, sized
from drsync.delta.batch import split, verify
from drsync.engine.resizes import resizes_in
from drsync.engine.volumes import LAYER_BLOCKS_MAX, SCAN_BYTES, GroupVolumes
from drsync.model.epoch import Epoch
from drsync.model.errors import FailedCopyError, MalformedError
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.model.position import Position
from drsync.ports.copy_store import Adoption, CopyStore
from drsync.ports.journal import Image, Journal
from drsync.ports.stage import FailedStageError, Stage, StageInfo
from drsync.wire import control

PIECE_BYTES: Final = 1 << 20  # because larger writes gain nothing; 16 granules


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch that is recorded and not done yet; the history to follow is that of the charter beside it.

    Attributes:
        session, generation: of the source.
        epoch: that the source owned.
        p0: the images will hold everything up to here, and perhaps some of what follows.
        p1: the end of the redo, which is the log from then on.
        size: granules staged.
        fork: our own log was the source's up to here.
        is_everything: what is not staged becomes zeros.
        resizes: of the source's log up to p1; ours are over with our log.
        is_renamed: what is staged becomes the images by renaming; only with `is_everything`, after
            `check_stage`.
    """

    session: str
    generation: int
    epoch: Epoch
    p0: Position
    p1: Position
    size: int
    fork: int
    is_everything: bool = False
    resizes: tuple[Resize, ...] = ()
    is_renamed: bool = False

    @staticmethod
    def of(
        session: StageInfo, p1: Position, size: int, resizes: tuple[Resize, ...], *, is_renamed: bool
    ) -> "Switch":
        """The switch with which a session ends at `p1`, with `size` granules staged."""
        at = (session.p0, p1, size, session.fork, session.is_everything)
        return Switch(session.session, session.generation, session.epoch, *at, resizes, is_renamed)

    def to_json(self) -> dict[str, object]:
        """For the superblock."""
        return {
            "session": self.session,
            "generation": self.generation,
            "epoch": self.epoch,
            "p0": control.to_json(self.p0),
            "p1": control.to_json(self.p1),
            "size": self.size,
            "fork": self.fork,
            "is_everything": self.is_everything,
            **({"resizes": self.resizes} if self.resizes else {}),
            **({"is_renamed": True} if self.is_renamed else {}),
        }

    @staticmethod
    def from_json(body: Mapping[str, object]) -> "Switch":
        """Inverse of `to_json`."""
        fields = dict(body)
        p0, p1 = (control.from_json(Position, fields.pop(name)) for name in ("p0", "p1"))
        listed = fields.pop("resizes", [])
        assert isinstance(listed, list)
        fields["resizes"] = tuple(Resize(*one) for one in listed)
        return Switch(p0=p0, p1=p1, **fields)  # type: ignore[arg-type]  # `to_json` wrote them


# --- before the record


def own_changes(journal: Journal, spec: GroupSpec, after_seq: int) -> Extents | None:
    """What the log's own records after `after_seq` touch; None when it does not hold all of them."""
    try:
        found = journal.changed(after_seq, journal.tip.seq)
    except MalformedError:
        return None
    sizes = {volume.index: volume.size for volume in spec.volumes}
    return extents.union(
        *(
            extents.extent(index, offset, min(length, sizes[index] - offset))
            for index, ranges in sorted(found.items())
            for offset, length in ranges
        )
    )


def check_log(journal: Journal, after_seq: int, through: Position) -> None:
    """Read the log from `after_seq` up to its tip, and compare all of it.

    Raises:
        FailedCopyError: it is damaged, or does not end there.
    """
    at = journal.batch_end_at_or_below(after_seq)
    while at.seq < journal.tip.seq:
        try:
            data, _ = journal.read_batches(at.seq, SCAN_BYTES)
        except MalformedError:  # the images went forward, and these records went
            at = journal.batch_end_at_or_below(max(at.seq, journal.first_seq - 1))
            continue
        try:
            for offset, header in split(data):
                at = verify(data, offset, header, at)
        except MalformedError as error:
            raise FailedCopyError(f"the journal is damaged after record {at.seq}: {error}") from error
    if at != through:
        raise FailedCopyError(f"the journal ends at record {at.seq}, not at {through.seq}")


def check_stage(stage: Stage, p1: Position) -> bool:
    """Make a stage durable, read it back, and compare; its redo must end at `p1`.

    Whether it can become the images by renaming: where everything was sent it was brought to their form.

    Raises:
        FailedStageError: it is not what was put aside.
        NoSpaceError: the disk is full.
    """
    stage.sync()
    is_renamed = stage.session.is_everything and stage.shape()
    stage.verify()
    redo = stage.redo()
    if redo.tip != p1 or redo.durable_seq != p1.seq:
        raise FailedStageError(f"the staged redo ends at record {redo.tip.seq}, not at {p1.seq}")
    return is_renamed


def take_space(
    store: CopyStore,
    spec: GroupSpec,
    journal: Journal,
    applied: int,
    stage: Stage,
    *,
    is_renamed: bool = False,
) -> None:
    """Take the space for everything that will be written into the images, while there is a way back.

    Renaming writes nothing into them.

    Raises:
        NoSpaceError: there is not enough; what was taken is zeros as before.
        FailedCopyError: an image cannot be used.
    """
    if is_renamed:
        store.make_way()
        return
    own = own_changes(journal, spec, applied)
    data = extents.normal(Run(*run[:3]) for run in stage.entries() if not run.is_zeros)
    store.reserve(spec, extents.union(data, own or ()))
    store.make_way()


def tidy(spec: GroupSpec, store: CopyStore, tip: Position, switched: str) -> None:
    """Remove what a former process left that no session can go on with; for a start without a switch.

    A stage belongs to the log it was compared with: `tip` must still be its base. `switched` is the session
    that became this copy. Raises FailedStageError.
    """
    stage = store.stage(spec)
    if stage is not None:
        is_useful = stage.session.base == tip and stage.session.session != switched
        stage.close()
        if is_useful:
            return
    store.drop_stage()


# --- after the record


def finish(spec: GroupSpec, store: CopyStore, switch: Switch, own: "Own") -> None:
    """Bring images and journal to where the switch leads, from wherever a crash left it.

    Neither may be open. On return both are durable, and the record may go.

    Raises:
        NoSpaceError: to be done again when there is some.
        FailedCopyError: something that was durable is gone; nothing can be opened any more.
    """
    match store.adoption():
        case Adoption.IMPOSSIBLE:
            raise FailedCopyError(
                "a switch is recorded, and neither its journal nor its stage is there",
                remedy="rebuild this copy from another center",
            )
        case Adoption.NOT_BEGUN if switch.is_renamed:
            _rename_images(spec, store, switch)
        case Adoption.NOT_BEGUN:
            _write_images(spec, store, switch, own)
        case _:
            pass
    store.adopt_journal()
    _check_journal(spec, store, switch, own)


@dataclass(frozen=True, slots=True)
class Own:
    """What the superblock says of the log and the images before the switch."""

    incarnation: str
    durable_hint: int
    applied: int
    reached: int
    resizes: tuple[Resize, ...] = ()


def _write_images(spec: GroupSpec, store: CopyStore, switch: Switch, own: Own) -> None:
    first = first_sizes(spec)
    spec = sized(spec, Sizes(first, switch.resizes).newest)
    sizes = {volume.index: volume.size for volume in spec.volumes}
    stage = _opened_stage(spec, store, switch)
    images: dict[int, Image] = {}
    journal: Journal | None = None
    try:
        journal = store.journal(spec, own.incarnation, own.durable_hint)
        ours = Sizes(first, own.resizes)
        for resize in resizes_in(journal, own.applied):
            ours = ours.grown(resize)
        for volume in at_least(spec, ours.newest).volumes:
            images[volume.index] = store.image(volume)
        _fold(GroupVolumes(images, journal, own.applied, own.reached), journal, stage.session)
        _write_stage(stage, images, sizes)
        if switch.is_everything:
            _zero_the_rest(stage.staged, images)
        for index in sorted(images):
            images[index].zero(sizes[index], images[index].size - sizes[index])  # only our log went further
            images[index].sync()
    finally:
        stage.close()
        if journal is not None:
            journal.close()
        for image in images.values():
            image.close()


def _rename_images(spec: GroupSpec, store: CopyStore, switch: Switch) -> None:
    """Everything was sent, so that neither the images nor the own log matter any more.

    A rename is durable before the next. Where nothing waits to be renamed that was done before; the image is
    compared all the same, because the stage may have lost a file in another way.
    """
    spec = sized(spec, Sizes(first_sizes(spec), switch.resizes).newest)
    stage = _opened_stage(spec, store, switch)
    try:
        for volume in spec.volumes:
            if not store.adopt_image(volume):
                _compare_image(stage, store, volume)
    finally:
        stage.close()


def _compare_image(stage: Stage, store: CopyStore, volume: VolumeSpec) -> None:
    image = store.image(volume)
    try:
        stage.compare(volume.index, image.read_into)
    except FailedStageError as error:
        raise FailedCopyError(
            f"a switch is recorded, what was put aside of volume {volume.name} is gone, and its image is "
            f"something else: {error}",
            remedy="rebuild this copy from another center",
        ) from error
    finally:
        image.close()


def _check_journal(spec: GroupSpec, store: CopyStore, switch: Switch, own: Own) -> None:
    """The journal is the redo: a stage that somebody removed would look as though it had been adopted."""
    journal = store.journal(spec, own.incarnation, switch.p1.seq)
    try:
        place = (journal.first_seq, journal.tip, journal.position_at(switch.p0.seq))
    finally:
        journal.close()
    if place != (switch.p0.seq + 1, switch.p1, switch.p0):
        raise FailedCopyError(
            f"a switch to records {switch.p0.seq + 1} to {switch.p1.seq} is recorded, "
            f"and the journal holds {place[0]} to {place[1].seq}",
            remedy="rebuild this copy from another center",
        )


def _opened_stage(spec: GroupSpec, store: CopyStore, switch: Switch) -> Stage:
    stage = store.stage(spec)
    if stage is None or (stage.session.session, stage.session.p0) != (switch.session, switch.p0):
        raise FailedCopyError(
            "a switch is recorded, and what was put aside for it cannot be read",
            remedy="rebuild this copy from another center",
        )
    if extents.size(stage.staged) != switch.size:
        stage.close()
        raise FailedCopyError(f"a switch of {switch.size} granules is recorded, not all are there")
    return stage


def _fold(volumes: GroupVolumes, journal: Journal, session: StageInfo) -> None:
    """Bring the images to the end of the own log, in pieces that fit in memory."""
    tip = journal.tip
    if tip != session.base:
        raise FailedCopyError(
            f"the log ends at record {tip.seq}; what is staged belongs to {session.base.seq}"
        )
    is_more = True
    while is_more:
        is_more = volumes.record_slice(tip.seq)
        if is_more and volumes.held_blocks < LAYER_BLOCKS_MAX:
            continue
        job = volumes.begin_drain(volumes.recorded)
        if job is not None:
            job.run()
            volumes.end_drain(job)


def _write_stage(stage: Stage, images: Mapping[int, Image], sizes: Mapping[int, int]) -> None:
    buffer = memoryview(bytearray(PIECE_BYTES))
    for run in stage.entries():
        image = images[run.volume]
        at, end = run.first * GRANULE, min(run.end * GRANULE, sizes[run.volume])
        if run.is_zeros:
            image.zero(at, end - at)
            continue
        while at < end:
            piece = buffer[: min(PIECE_BYTES, end - at)]
            stage.read_into(run.volume, at, piece)
            image.write(at, [piece])
            at += len(piece)


def _zero_the_rest(staged: Extents, images: Mapping[int, Image]) -> None:
    """Also of an image that was never written: it may be older than the superblock that says so."""
    for index, image in sorted(images.items()):
        whole: Extents = (Run(index, 0, -(-image.size // GRANULE)),)
        for run in extents.subtract(whole, staged):
            at = run.first * GRANULE
            image.zero(at, min(run.end * GRANULE, image.size) - at)
