"""Checkpoints on hold, as people order them; each center keeps its own, in its superblock."""

from collections.abc import Sequence

from drsync.coordinator import forms
from drsync.coordinator.everywhere import TIMEOUT_S, ask_everywhere
from drsync.coordinator.groups import Groups
from drsync.coordinator.journal import Journal
from drsync.coordinator.sessions import SessionTable
from drsync.model.charter import Charter

Json = dict[str, object]


class Holds:
    """One per coordinator process. Methods raise UsageError for a name that nobody bears."""

    def __init__(self, sessions: SessionTable, groups: Groups, journal: Journal) -> None:
        self._sessions = sessions
        self._groups = groups
        self._journal = journal

    async def list(self, charter: Charter) -> Json:
        """What is on hold, by center."""
        found = await ask_everywhere(self._sessions, charter, "hold.list", "holds")
        return {"group": charter.group.name, "centers": found}

    async def add(self, group: str, form: forms.HoldForm) -> Json:
        """Keep a point at a center. Raises as a question to that center."""
        charter = self._groups.find(group)
        center = self._groups.member(charter, form.at)
        body: Json = {
            "group": charter.group.id,
            "name": form.name,
            "point": form.point,
            "time_us": form.time_us,
            "reason": form.reason,
            "actor": form.actor,
        }
        hold = _of(await self._sessions.call(center, "hold.add", body, TIMEOUT_S))
        text = f"record {hold.get('seq')} is on hold at {center} as {form.name}{_asked(form)}"
        self._journal.about(charter, "hold_added", text, center)
        return {"group": charter.group.name, "center": center, "hold": hold}

    async def release(self, group: str, name: str, form: forms.ReleaseForm) -> Json:
        """Keep it no longer. Raises as a question to that center."""
        charter = self._groups.find(group)
        center = self._groups.member(charter, form.at)
        body: Json = {"group": charter.group.id, "name": name}
        hold = _of(await self._sessions.call(center, "hold.release", body, TIMEOUT_S))
        text = f"{name} (record {hold.get('seq')}) at {center} is on hold no longer{_asked(form)}"
        self._journal.about(charter, "hold_released", text, center)
        return {"group": charter.group.name, "center": center, "hold": hold}


class LostHolds:
    """What agents had to give up, told once each: heartbeats repeat it while their process lives."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._told: dict[tuple[str, str], tuple[str, int]] = {}

    def heard(self, charter: Charter, center: str, session: str, lost: Sequence[forms.LostHoldWord]) -> None:
        """What a heartbeat says."""
        key = (charter.group.id, center)
        known, newest = self._told.get(key, ("", 0))
        newest = newest if known == session else 0
        for one in lost:
            if one.id > newest:
                newest = one.id
                self._journal.about(charter, "hold_given_up", f"{center}: {one.text}", center)
        if lost:
            self._told[key] = (session, newest)


def _of(answer: Json) -> Json:
    hold = answer.get("hold")
    return hold if isinstance(hold, dict) else {}


def _asked(form: forms.HoldForm | forms.ReleaseForm) -> str:
    return f" (says {form.actor or 'nobody'}): {form.reason}"
