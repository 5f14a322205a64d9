"""What an owner says of an export it serves: in which epoch, and which opening last admitted a loss.

It stands in the export's description, one line of text that NBD tools show to people as well::

    volume ledger of group orders; epoch=4294967297 lost_in=4294967296

Both numbers are epochs as integers (`drsync.model.epoch`); ``lost_in=0``: no opening ever admitted a loss.
"""

import re
from dataclasses import dataclass

from drsync.model.charter import Charter
from drsync.model.epoch import EPOCH_MAX, NEVER, Epoch
from drsync.model.position import Loss

_NUMBERS = re.compile(r"; epoch=(\d{1,20}) lost_in=(\d{1,20})$", re.ASCII)


@dataclass(frozen=True, slots=True)
class Served:
    """An owner's word about its export.

    Attributes:
        epoch: it serves in; of this epoch are all its answers.
        lost_in: the newest epoch whose opening admitted a loss, forced or volatile; NEVER if none did. To
            whom was acknowledged in an earlier epoch, some of that may be lost.
    """

    epoch: Epoch
    lost_in: Epoch = NEVER

    @staticmethod
    def under(charter: Charter) -> "Served":
        """What the owner that a charter names says."""
        lossy = (start.epoch for start in charter.history if start.loss is not Loss.NONE)
        return Served(charter.epoch, max(lossy, default=NEVER))


def describe(volume: str, group: str, served: Served) -> str:
    """The description of an export."""
    return f"{_name(volume, group)}; epoch={served.epoch} lost_in={served.lost_in}"


def _name(volume: str, group: str) -> str:
    return f"volume {volume} of group {group}"


def parse(volume: str, group: str, description: str) -> Served | None:
    """What a description says; None when it is not that of an owner of this volume."""
    found = _NUMBERS.search(description)
    if found is None or description[: found.start()] != _name(volume, group):
        return None
    epoch, lost_in = int(found[1]), int(found[2])
    if not 0 < epoch <= EPOCH_MAX or lost_in > epoch:
        return None
    return Served(Epoch(epoch), Epoch(lost_in))
