"""Names into ids: groups and centers as people call them, and new groups as they ask for them."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from drsync.adapters.sqlite.charters import SqliteCharterStore
from drsync.config.load import read_group
from drsync.config.options import GroupRequest
from drsync.model.charter import Charter
from drsync.model.errors import RefusedError, TransientError, UsageError
from drsync.model.fileset import FileSetSpec
from drsync.model.group import GroupSpec, VolumeSpec
from drsync.model.topology import Center
from drsync.ports.charter_store import CasOutcome
from drsync.ports.clock import Random


class Groups:
    """All groups of this coordinator."""

    def __init__(self, store: SqliteCharterStore, centers: Mapping[str, Center], random: Random) -> None:
        self._store = store
        self._centers = centers
        self._random = random

    def find(self, name: str) -> Charter:
        """The charter of the group of that name or id. Raises UsageError with the nearest name."""
        charters = self._store.all()
        for charter in charters:
            if name in (charter.group.name, charter.group.id):
                return charter
        raise UsageError(unknown("group", name, [c.group.name for c in charters]), code="unknown_group")

    @staticmethod
    def member(charter: Charter, name: str) -> str:
        """The member of that name. Raises UsageError with the nearest name."""
        names = [member.name for member in charter.group.members]
        if name not in names:
            raise UsageError(unknown("center", name, names), code="unknown_center")
        return name

    async def apply(self, document: Mapping[str, object]) -> tuple[Charter, bool]:
        """Make the group a document asks for, or change what may be changed; whether it is new.

        Raises:
            ConfigError, UsageError: what is wrong with the document.
            RefusedError: it asks for a change that would lose or move data.
            TransientError: the store did not answer clearly.
        """
        request = read_group(dict(document))
        for name in request.members:
            if name not in self._centers:
                raise UsageError(unknown("center", name, list(self._centers)), code="unknown_center")
        known = next((c for c in self._store.all() if c.group.name == request.name), None)
        if known is None:
            return await self.make(self._new(request)), True
        spec = _changed(known, request)
        if spec == known.group:
            return known, False
        return await self.swap(known.version, replace(known, version=known.version + 1, group=spec)), False

    async def make(self, group: GroupSpec) -> Charter:
        """A new group with these ids. Raises TransientError: the store did not answer clearly."""
        return await self.swap(0, Charter(group))

    def _new(self, request: GroupRequest) -> GroupSpec:
        volumes = tuple(
            VolumeSpec(self._random.hex128(), volume.name, volume.size, index)
            for index, volume in enumerate(request.volumes, start=1)
        )
        return GroupSpec(
            id=self._random.hex128(),
            name=request.name,
            volumes=volumes,
            members=tuple(self._centers[name] for name in request.members),
            preferred_owner=request.preferred_owner,
            objectives=request.objectives,
            policy=request.policy,
            filesets=tuple(
                FileSetSpec(self._random.hex128(), fileset.name, index, fileset.roots)
                for index, fileset in enumerate(request.filesets, start=1)
            ),
        )

    async def swap(self, expected_version: int, charter: Charter) -> Charter:
        """Change a charter in one step. Raises TransientError: it was another one, or nobody can say."""
        result = await self._store.compare_and_set(expected_version, charter)
        if result.outcome is CasOutcome.DONE:
            return charter
        raise TransientError(f"the charter was not changed: {result.reason}", remedy="Ask again.")


def _changed(known: Charter, request: GroupRequest) -> GroupSpec:
    """The group's new shape: only who owns it in normal times, targets and behaviour may change so far."""
    group = known.group
    if known.intent is not None:
        raise RefusedError(
            f"a {known.intent.kind.value} is under way", code="in_progress", remedy="Wait for it."
        )
    same_members = {m.name for m in group.members} == set(request.members)
    same_volumes = [(v.name, v.size) for v in group.volumes] == list(request.volumes)
    if (
        same_members
        and not same_volumes
        and [v.name for v in group.volumes] == [n for n, _ in request.volumes]
    ):
        raise _other_sizes(group, request)
    same_filesets = [(f.name, f.roots) for f in group.filesets] == list(request.filesets)
    if not same_members or not same_volumes or not same_filesets:
        raise RefusedError(
            f"members, volumes and file sets of {group.name} cannot be changed in this version",
            code="not_changeable",
            remedy="Make a new group for them.",
        )
    return replace(
        group,
        preferred_owner=request.preferred_owner,
        objectives=request.objectives,
        policy=request.policy,
    )


def _other_sizes(group: GroupSpec, request: GroupRequest) -> RefusedError:
    """A file never resizes by itself: that asks every center first."""
    wanted = dict(request.volumes)
    volume = next(volume for volume in group.volumes if volume.size != wanted[volume.name])
    return RefusedError(
        f"{group.name}/{volume.name} has {volume.size} bytes, the file says {wanted[volume.name]}",
        code="size_differs",
        remedy=f'Write size = "{volume.size} B" into the file, or drsync volume resize if it shall grow.',
    )


def unknown(what: str, name: str, names: Iterable[str]) -> str:
    """The sentence about a name that nobody bears, with the nearest one."""
    known = sorted(names)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known) or 'none'}"
    return f"there is no {what} {name[:64]}{hint}"
