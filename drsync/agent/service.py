"""What the service manager is told of an agent: which loops must get on, and one line for people."""

from collections.abc import Iterable

from drsync.agent.headquarters import Headquarters
from drsync.engine.member import Member
from drsync.model import epoch as epochs

NAMES_MAX = 3  # because it is one line of `systemctl status`


def rounds(headquarters: Headquarters, members: Iterable[Member]) -> dict[str, int]:
    """How often the loops have come round that must never stop, whatever the network and the disks do.

    A loop that waits for a disk is not among them: a restart does not mend a disk, and the group says itself
    what it waits for.
    """
    owned = {
        f"owner of {member.copy.spec.name} in epoch {epochs.show(term.charter.epoch)}": term.rounds
        for member in members
        if (term := member.term) is not None and not term.engine.is_closed
    }
    return owned if headquarters.is_at_disk else {"link to the coordinator": headquarters.rounds, **owned}


def sentence(headquarters: Headquarters, members: Iterable[Member], broken: int) -> str:
    """How it goes, in one line."""
    members = list(members)
    owned = [member.copy.spec.name for member in members if member.term is not None]
    words = [
        "coordinator reached" if headquarters.is_connected else f"no coordinator: {headquarters.trouble}",
        f"{len(members)} {'copy' if len(members) == 1 else 'copies'}",
    ]
    if owned:
        more = f" and {len(owned) - NAMES_MAX} more" if len(owned) > NAMES_MAX else ""
        words.append(f"owner of {', '.join(owned[:NAMES_MAX])}{more}")
    if broken:
        words.append(f"{broken} BROKEN, see drsync status")
    return "; ".join(words)
