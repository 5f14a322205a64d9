"""Forks of a group: what each center put aside, why, and how it goes for good."""

from drsync.coordinator import forms
from drsync.coordinator.everywhere import TIMEOUT_S, ask_everywhere, listed
from drsync.coordinator.groups import Groups
from drsync.coordinator.journal import Journal
from drsync.coordinator.sessions import SessionTable
from drsync.model import epoch as epochs
from drsync.model.charter import Charter
from drsync.model.epoch import Epoch
from drsync.model.errors import RefusedError, UsageError
from drsync.model.position import Loss

Json = dict[str, object]

DISCARD_TIMEOUT_S = 60.0  # because a file system removes some GB in seconds


class Forks:
    """One per coordinator process. Methods raise UsageError for a name that nobody bears."""

    def __init__(self, sessions: SessionTable, groups: Groups, journal: Journal) -> None:
        self._sessions = sessions
        self._groups = groups
        self._journal = journal

    async def list(self, charter: Charter) -> Json:
        """What was put aside, by center."""
        found = await ask_everywhere(self._sessions, charter, "fork.list", "forks")
        for told in found.values():
            for fork in listed(told, "forks"):
                number = fork.get("epoch")
                fork["epoch_text"] = epochs.show(Epoch(number if isinstance(number, int) else 0))
                fork["why"] = _why(charter, fork)
        return {"group": charter.group.name, "centers": found}

    async def discard(self, group: str, name: str, form: forms.DiscardForm) -> Json:
        """Remove one for good; on record before anything goes. Raises as a question to that center."""
        charter = self._groups.find(group)
        center = self._groups.member(charter, form.at)
        body: Json = {"group": charter.group.id}
        told = listed(await self._sessions.call(center, "fork.list", body, TIMEOUT_S), "forks")
        known = {str(fork.get("name")): fork for fork in told}
        if name not in known:
            held = ", ".join(sorted(known)) or "none"
            raise UsageError(
                f"{center} has no fork {name[:64]} of {charter.group.name}; there are: {held}",
                code="unknown_fork",
            )
        if opened := known[name].get("open_as"):
            remedy = f"drsync close {charter.group.name} {opened}"
            raise RefusedError(f"fork {name} is open as {opened}", code="fork_open", remedy=remedy)
        records, by = known[name].get("records"), form.actor or "nobody"
        text = f"fork {name} at {center}, {records} records, is to be discarded (says {by}): {form.reason}"
        self._journal.about(charter, "fork_discarding", text, center)
        await self._sessions.call(center, "fork.discard", {**body, "name": name}, DISCARD_TIMEOUT_S)
        self._journal.about(charter, "fork_discarded", f"fork {name} at {center} is gone", center)
        return {"group": charter.group.name, "center": center, "fork": known[name]}


def _why(charter: Charter, fork: Json) -> str:
    """Which opening the records were cut for, by the group's history."""
    after, epoch = fork.get("after_seq"), fork.get("epoch")
    for start in charter.history:
        if start.fork_seq == after and isinstance(epoch, int) and start.epoch > epoch:
            forced = ", which admitted a loss" if start.loss is not Loss.NONE else ""
            return f"epoch {epochs.show(start.epoch)} began after record {after}{forced}"
    return f"the group's history goes on without what followed record {after} there"
