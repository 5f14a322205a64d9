"""What an owner owes its log: the sizes that the charter decided (decision 26)."""

from collections.abc import Iterable, Mapping

from drsync.delta.batch import Kind
from drsync.engine.attach import Attachment
from drsync.engine.copy import GroupCopy
from drsync.engine.owner import OwnerEngine
from drsync.model.group import VolumeSpec


def grow(
    copy: GroupCopy,
    volumes: Iterable[VolumeSpec],
    engine: OwnerEngine,
    attachments: Mapping[str, Attachment],
) -> list[str]:
    """Append what the charter, with these volumes, says and the log does not yet; what was done, in words."""
    names = {volume.index: volume.name for volume in volumes}
    told: list[str] = []
    for owed in copy.sizes.owed(volumes):
        for center, attachment in attachments.items():
            if not attachment.is_lost and not attachment.knows_resizes:
                attachment.close(f"{center} must be upgraded: a volume grows")
        position = engine.mark(Kind.RESIZE, b"", volume=owed.volume, offset=owed.size)
        if engine.is_closed:
            break
        copy.note_resize(owed._replace(seq=position.seq))
        told.append(f"{names[owed.volume]} has {owed.size} bytes from record {position.seq} on")
    return told
