"""What a member and its views ask of the group's trees, whoever keeps them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Protocol

from drsync.model.fileset import Generation

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class TreeProof:
    """What was found in a copy of a tree that was made for a view.

    Attributes:
        place: where it is.
        generation: number of the generation it shows.
        expected, found: digests of what the owner cut and of what was read back, storage left out.
        logged: digest in the log's checkpoint; the same as `indexed` when index and log agree.
        indexed: digest of the index the copy was made from.
        entries, bytes: what was read.
    """

    place: str
    generation: int
    expected: str
    found: str
    logged: str
    indexed: str
    entries: int
    bytes: int

    @property
    def is_equal(self) -> bool:
        """Whether the copy is what the owner cut at that point of the log."""
        return self.expected == self.found and self.logged == self.indexed


class Trees(Protocol):
    """The trees of one group at this center."""

    @property
    def is_empty(self) -> bool:
        """Whether the group has no trees at all."""
        ...

    async def settle(self, center: str, timeout_s: float, *, must_cut: bool = False) -> None:
        """Cut what is new, and wait until `center` (empty: nobody) holds it.

        Raises:
            TransientError: not within `timeout_s`; says what is on its way.
            RefusedError: a tree is held.
        """
        ...

    def standing(self, center: str, timeout_s: float) -> AbstractAsyncContextManager[None]:
        """While in it no tree is cut, and `center` (empty: nobody) holds what was cut last.

        So a checkpoint that is written in it names generations that can be opened there: afterwards `center`
        is sent nothing newer until a view was opened, or a moment has passed.

        Raises:
            TransientError: `center` does not get there within `timeout_s`.
            RefusedError: a tree is held.
        """
        ...

    async def clone(
        self, view_id: str, wanted: Mapping[int, tuple[Generation, str]], timeout_s: float
    ) -> dict[str, str]:
        """Copies of the trees as a recovery point has them; set name → directory.

        Args:
            view_id: the view they belong to.
            wanted: small number of the set → (generation, digest) as the log says.
            timeout_s: how long to wait for a generation that is on its way.

        Raises:
            RefusedError: a tree is beyond that generation; older ones are not kept in this version.
            TransientError: it did not get there in time.
        """
        ...

    async def prove(self, view_id: str) -> dict[str, TreeProof]:
        """Read the copies of a view completely; set name → what was found."""
        ...

    async def drop(self, view_id: str) -> list[str]:
        """Remove the copies of a view; what was removed."""
        ...

    async def approve(self, name: str) -> None:
        """A person wants the change that file set `name` is held for. Raises RefusedError."""
        ...

    def report(self, center: str) -> Json:
        """What the owner says about the trees at `center`, as set name → lag."""
        ...

    def own_report(self) -> Json:
        """What the owner says about its trees, as set name → facts."""
        ...


class NoTrees:
    """Of a group without file sets."""

    is_empty = True

    async def settle(self, center: str, timeout_s: float, *, must_cut: bool = False) -> None:
        """See Trees."""

    @asynccontextmanager
    async def standing(self, center: str, timeout_s: float) -> AsyncIterator[None]:
        """See Trees."""
        yield

    async def clone(
        self, view_id: str, wanted: Mapping[int, tuple[Generation, str]], timeout_s: float
    ) -> dict[str, str]:
        """See Trees."""
        del view_id, wanted, timeout_s
        return {}

    async def prove(self, view_id: str) -> dict[str, TreeProof]:
        """See Trees."""
        del view_id
        return {}

    async def drop(self, view_id: str) -> list[str]:
        """See Trees."""
        del view_id
        return []

    async def approve(self, name: str) -> None:
        """See Trees."""

    def report(self, center: str) -> Json:
        """See Trees."""
        del center
        return {}

    def own_report(self) -> Json:
        """See Trees."""
        return {}
