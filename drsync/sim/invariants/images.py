"""INV-09 and INV-16: images and views hold what the log says at their positions; a view is only a view."""

from typing import TYPE_CHECKING

from drsync.agent.exports import GroupExports
from drsync.engine.copy import GroupCopy
from drsync.engine.views import ViewDevice
from drsync.model.copy import CopyState
from drsync.model.errors import FailedCopyError
from drsync.model.position import History
from drsync.ports.volume import COMPLETE_OK
from drsync.sim.character import GROUP_BYTES, NAMES, VOLUMES
from drsync.sim.client import SLOT, first_slot, pattern, value_of
from drsync.sim.ledger import ViolationError

if TYPE_CHECKING:
    from drsync.sim.world import World

SCRIBBLE = 1 << 62  # what is written to views, because no application comes that far
_ZEROS = bytes(SLOT)
SLOTS_SEEN = 12  # of a view at a time, because a look must not cost more than what it looks at


class Images:
    """The images of all members, and the views that are open on them."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._scribbled: dict[tuple[str, int], dict[int, int]] = {}  # view, volume -> slot -> what is there
        self._scribbles = 0
        self._has_lied = dict.fromkeys(NAMES, False)

    def look_at_disks(self) -> None:
        """Notice which disks lie: nothing is expected of an image on them."""
        for name in NAMES:
            if self._world.hosts[name].disk.is_lying:
                self._has_lied[name] = True

    def forget(self, name: str) -> None:
        """Its disk was replaced or put back."""
        self._has_lied[name] = False

    def look_at_image(self, name: str) -> None:
        """INV-09. Costs a read of all slots. Raises ViolationError."""
        world = self._world
        if self._has_lied[name]:
            return  # what it wrote since is anybody's guess, until the disk is replaced
        for member in world.agents[name].members():
            copy = member.copy
            history = self._history(copy)
            if copy.state is CopyState.FAILED or history is None:
                continue
            if copy.volumes.reached != copy.volumes.applied:
                continue  # a drain is under way, or was interrupted: the journal repairs it
            buffer, at = bytearray(GROUP_BYTES), 0
            try:
                for volume in VOLUMES:
                    image = copy.volumes.views[volume.index].image
                    image.read_into(0, memoryview(buffer)[at : at + volume.size])
                    at += volume.size
            except FailedCopyError:
                continue  # its disk does not read: the copy will notice
            wrong = first_wrong(world, buffer, history, copy.volumes.applied)
            if wrong:
                raise ViolationError("INV-09", f"an image of {name} is wrong: {wrong}")

    def look_at_views(self, name: str) -> None:
        """INV-16: use every view that is served here, as a drill would. Raises ViolationError."""
        front = self._world.agents[name].front
        members = self._world.agents[name].members()
        if front is None or not members or len(front.doors) == 0:
            return
        for exports in list(front.doors.values()):
            if isinstance(exports, GroupExports):
                continue
            for volume in exports.names():
                device = exports.find(volume)
                index = next(one.index for one in VOLUMES if one.name == volume)
                if isinstance(device, ViewDevice) and not device.whole.is_over:
                    self._use(name, members[0].copy, device, first_slot(index))

    def _use(self, name: str, copy: GroupCopy, device: ViewDevice, base: int) -> None:
        history = self._history(copy)
        if copy.state is CopyState.FAILED or history is None:
            return
        view = device.whole
        scribbled = self._scribbled.setdefault((view.id, base), {})
        slots = device.size // SLOT  # with those that nobody wrote
        first = self._scribbles % slots
        buffer = bytearray(SLOT)
        for slot in [(first + n) % slots for n in range(min(SLOTS_SEEN, slots))]:
            if device.read_into(slot * SLOT, memoryview(buffer)) != COMPLETE_OK:
                return
            expected = scribbled.get(slot)
            if expected is None:
                expected = self._world.ledger.content(history, view.seq, base + slot)
            if value_of(buffer) != expected:
                raise ViolationError(
                    "INV-16",
                    f"slot {slot} of a view of record {view.seq} at {name} holds {value_of(buffer)}, "
                    f"not {expected}",
                )
        self._scribble(name, copy, device, scribbled, first)

    def _scribble(
        self, name: str, copy: GroupCopy, device: ViewDevice, scribbled: dict[int, int], slot: int
    ) -> None:
        tip = copy.journal.tip
        self._scribbles += 1
        device.write(slot * SLOT, memoryview(pattern(SCRIBBLE + self._scribbles)), b"", fua=False)
        device.submit(_Nobody())
        scribbled[slot] = SCRIBBLE + self._scribbles
        if copy.journal.tip != tip:
            raise ViolationError(
                "INV-16", f"a write to a view at {name} became record {copy.journal.tip.seq}"
            )

    def _history(self, copy: GroupCopy) -> History | None:
        charter = copy.durable.charter
        if charter is None:
            return None
        return self._world.ledger.lineage(copy.durable.follow, charter.history)


def first_wrong(world: "World", content: bytearray, history: History, seq: int) -> str:
    """What a volume holds that record `seq` of a log with this history did not leave there; or nothing.

    `content` is used up.
    """
    for slot in world.application.places:
        at = slot * SLOT
        found, expected = value_of(content[at : at + SLOT]), world.ledger.content(history, seq, slot)
        if found != expected:
            return f"slot {slot} holds {found}, but record {seq} left {expected} there"
        content[at : at + SLOT] = _ZEROS
    if content != bytes(len(content)):
        slot = next(slot for slot in range(len(content) // SLOT) if any(content[slot * SLOT :][:SLOT]))
        return f"slot {slot} holds something, and nobody ever wrote there"
    return ""


class _Nobody:
    """Waits for no answer."""

    def complete(self, cookies: list[bytes], error: int) -> None:
        """See Completion."""

    def resume(self) -> None:
        """See Completion."""
