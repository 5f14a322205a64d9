"""A volume grows: everybody is asked, the charter decides, and the log follows (decision 26)."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final

from drsync.coordinator import forms
from drsync.coordinator.groups import Groups, unknown
from drsync.coordinator.journal import Journal
from drsync.coordinator.operations import Operations
from drsync.coordinator.sessions import SessionTable
from drsync.core import resize
from drsync.core.resize import Asked, Objection, Why, Word
from drsync.model.charter import Charter
from drsync.model.errors import DrsyncError, RefusedError, TransientError, UsageError
from drsync.model.group import VolumeSpec
from drsync.ports.clock import Clock
from drsync.wire import control

Json = dict[str, object]

ASK_TIMEOUT_S: Final = 5.0  # because the answer is in memory, but for one look at the file system
TRIES: Final = 3  # because an in-sync set may change just then, and hardly twice
FOLLOW_S: Final = (
    10.0  # because a record takes milliseconds; whoever takes longer is named, and not waited for
)
LOOK_S: Final = 0.1


class Resizes:
    """One per coordinator process. Methods raise UsageError for a name that nobody bears."""

    def __init__(
        self,
        sessions: SessionTable,
        groups: Groups,
        operations: Operations,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._groups = groups
        self._operations = operations
        self._journal = journal
        self._clock = clock
        self._deciding = asyncio.Lock()  # one after another, so that nobody's yes is older than the charter

    async def resize(self, group: str, name: str, form: forms.ResizeForm) -> Json:
        """Let a volume grow; asked again it only looks how far that is.

        Raises:
            RefusedError: a member says no, or a change of owner is under way; nothing was changed.
            TransientError: whether the charter was changed is not known: ask again.
        """
        wrong = resize.wrong_size(form.size)
        if wrong:
            raise UsageError(wrong, code="wrong_size", remedy="20GiB is one, for example.")
        charter = self._groups.find(group)
        without = tuple(self._groups.member(charter, center) for center in form.without)
        if without and not form.reason.strip():
            raise UsageError("whoever goes on without a center says why", remedy='Add --reason "...".')
        async with self._deciding:
            volume = _volume(self._groups.find(group), name)
            words = await self._ask(self._groups.find(group), volume)
            charter, found = await self._settle(group, volume, form, without, words)
        former, asked_for = volume.size, form.size != volume.size
        if not form.dry_run:
            words = await self._follow(charter, volume, form.size)
        waiting = [center for center, word in words.items() if word.size < form.size or not word.is_committed]
        return {
            "group": charter.group.name,
            "volume": volume.name,
            "former": former,
            "size": form.size,
            "dry_run": form.dry_run,
            "changed": asked_for and not form.dry_run,
            "record": max((w.record for w in words.values() if w.size == form.size), default=0),
            "centers": [self._shown(charter, words[center], found) for center in words],
            "waiting": [] if form.dry_run else waiting,
        }

    async def _settle(
        self,
        group: str,
        volume: VolumeSpec,
        form: forms.ResizeForm,
        without: tuple[str, ...],
        words: Mapping[str, Word],
    ) -> tuple[Charter, list[Objection]]:
        """The charter that says it, and what was waived. Raises as `resize`."""
        tries = TRIES
        while True:
            charter = self._groups.find(group)
            if _volume(charter, volume.id).size == form.size:
                return charter, []  # decided already: nothing more is judged
            found = self._judged(charter, volume, Asked(form.size, without, form.thin), words)
            if form.dry_run:
                return charter, found
            try:
                return await self._decide(charter, volume, form, found), found
            except TransientError:
                tries -= 1
                if not tries or self._groups.find(group).version == charter.version:
                    raise  # else somebody joined the in-sync set, say: it is judged by the new charter

    def _shown(self, charter: Charter, word: Word, found: list[Objection]) -> Json:
        against = next((one for one in found if one.center == word.center), None)
        waived = against is not None and against.is_waived
        is_owner = word.center == charter.owner
        return {**asdict(word), "owner": is_owner, "waived": waived}

    def _judged(
        self, charter: Charter, volume: VolumeSpec, asked: Asked, words: Mapping[str, Word]
    ) -> list[Objection]:
        """What was waived. Raises RefusedError: something stands against it."""
        if charter.intent is not None or self._operations.move(charter.group.id) is not None:
            raise RefusedError(
                f"{charter.group.name} is just changing its owner",
                code="in_progress",
                remedy="Ask again when that is over.",
            )
        found = resize.objections(asked, charter, volume, words)
        against = [one for one in found if not one.is_waived]
        if against:
            raise RefusedError(
                f"{charter.group.name}/{volume.name} stays as it is, not all agree: "
                + "; ".join(one.sentence for one in against),
                code="smaller" if against[0].why is Why.SMALLER else "not_all_agree",
                remedy=resize.remedies(found, charter.owner),
            )
        return found

    async def _decide(
        self, charter: Charter, volume: VolumeSpec, form: forms.ResizeForm, found: list[Objection]
    ) -> Charter:
        """The one step. On record before it is taken."""
        waived = [f" without {one.center} ({one.sentence})" for one in found if one.is_waived]
        said = f": {form.reason}" if form.reason else ""
        what = f"{volume.name} from {volume.size} to {form.size} bytes"
        text = f"{what}{','.join(waived)}, asked for by {form.actor or 'nobody'}{said}"
        self._journal.about(charter, "volume_resizing", text)
        try:
            decided = await self._groups.swap(charter.version, resize.decided(charter, volume, form.size))
        except TransientError as error:
            self._journal.about(charter, "volume_resize_unknown", f"{what}: {error}")
            raise
        self._journal.about(decided, "volume_resized", f"{what}, by charter {decided.version}")
        return decided

    # --- asking

    async def _ask(self, charter: Charter, volume: VolumeSpec) -> dict[str, Word]:
        return {
            member.name: await self._word(charter, member.name, volume) for member in charter.group.members
        }

    async def _word(self, charter: Charter, center: str, volume: VolumeSpec) -> Word:
        body: Json = {"group": charter.group.id, "volume": volume.index}
        try:
            answer = await self._sessions.call(center, "volume.examine", body, ASK_TIMEOUT_S)
        except DrsyncError as error:
            if error.code == "unknown_method":
                return Word(center, Why.TOO_OLD, "its software does not know volumes that grow")
            why = Why.NOT_REACHED if isinstance(error, TransientError) else Why.BROKEN
            return Word(center, why, str(error))
        told = forms.read(forms.ExaminedForm, answer)
        return Word(
            center, told.why, told.text, told.size, told.record, told.committed, told.resizes, told.free
        )

    # --- afterwards

    async def _follow(self, charter: Charter, volume: VolumeSpec, size: int) -> dict[str, Word]:
        """Tell the charter to those who are there, and wait a while for the record; it comes in any case."""
        for center in (charter.owner, *(m.name for m in charter.group.members if m.name != charter.owner)):
            await self._offer(charter, center)
        until = self._clock.now() + FOLLOW_S
        while True:
            words = await self._ask(charter, volume)
            reached = [word for word in words.values() if word.why in (None, Why.RESYNCING)]
            if all(word.size >= size and word.is_committed for word in reached):
                return words
            if self._clock.now() >= until:
                return words
            await self._clock.sleep_until(self._clock.now() + LOOK_S)

    async def _offer(self, charter: Charter, center: str) -> None:
        """Sooner than with the next heartbeat, which would do."""
        if not center or not self._sessions.is_connected(center):
            return
        try:
            await self._sessions.call(
                center, "group.adopt", {"charter": control.to_json(charter)}, ASK_TIMEOUT_S
            )
        except DrsyncError as error:
            self._journal.about(charter, "adopt_failed", f"{center}: {error}", center)


def _volume(charter: Charter, name: str) -> VolumeSpec:
    for volume in charter.group.volumes:
        if name in (volume.name, volume.id):
            return volume
    names = [volume.name for volume in charter.group.volumes]
    raise UsageError(unknown("volume", name, names), code="unknown_volume")
