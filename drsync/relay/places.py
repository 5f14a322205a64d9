"""Where a volume may be served: what the coordinator says or has said, and what the operator wrote."""

from dataclasses import dataclass

from drsync.adapters.api_client.doc import Doc
from drsync.model.epoch import EPOCH_MAX, NEVER, Epoch


@dataclass(frozen=True, slots=True)
class Place:
    """An address of one center."""

    center: str
    uri: str


@dataclass(frozen=True, slots=True)
class Word:
    """What the coordinator says of a volume now.

    Attributes:
        epoch: of the charter in force; NEVER before the first opening.
        owner: center; may be empty.
        places: centers that serve the volume, as far as it has heard; one at most, normally.
        is_known: it has a group of that name.
        volumes: names of all volumes of the group that are served now.
        size: that the volume is to have, in bytes; 0: not told.
    """

    epoch: Epoch
    owner: str
    places: tuple[Place, ...]
    is_known: bool
    volumes: tuple[str, ...] = ()
    size: int = 0

    @staticmethod
    def of(status: Doc, group: str, volume: str) -> "Word":
        """What ``GET /v1/status`` says."""
        found = status.doc("groups").doc(group)
        epoch = found.whole("epoch")
        places = tuple(
            Place(center, uri)
            for center, about in status.table("centers")
            if (uri := about.doc("volumes").text(f"{group}/{volume}"))
        )
        names = {
            key.removeprefix(f"{group}/")
            for _, about in status.table("centers")
            for key, _ in about.doc("volumes").items()
            if key.startswith(f"{group}/")
        }
        is_epoch = 0 <= epoch <= EPOCH_MAX
        return Word(
            Epoch(epoch) if is_epoch else NEVER,
            found.text("owner"),
            places,
            bool(found),
            tuple(sorted(names)),
            found.doc("sizes").whole(volume),
        )


class Places:
    """Addresses by center, best first. Addresses given by the operator stand; others are kept once heard."""

    def __init__(self, given: tuple[Place, ...]) -> None:
        self._given = {place.center: place for place in given}
        self._heard: dict[str, Place] = {}
        self._owner = ""

    def learn(self, word: Word) -> bool:
        """Take over what the coordinator says; whether there is anything new to try."""
        before = (self._owner, dict(self._heard))
        self._owner = word.owner
        self._heard.update({place.center: place for place in word.places})
        return before != (self._owner, self._heard)

    def in_order(self) -> list[Place]:
        """The owner's first, as far as it is known; then everybody's whose address is known."""
        found = {**self._heard, **self._given}
        return sorted(found.values(), key=lambda place: (place.center != self._owner, place.center))
