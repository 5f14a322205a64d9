"""The relay of one volume: attaches to the owner, watches for another, and carries its clients along."""

import asyncio
from dataclasses import replace

from drsync.adapters.api_client.client import ApiClient
from drsync.adapters.nbd.negotiation import Chosen
from drsync.adapters.nbd.transmission import Outlet
from drsync.core.relay import Export, Offer, Patience, Pursuit
from drsync.model.epoch import NEVER, Epoch, show
from drsync.model.errors import DrsyncError, TransientError, UsageError
from drsync.model.served import Served
from drsync.ports.attention import Heard, unheard
from drsync.ports.clock import Clock, Random
from drsync.relay.options import RelayOptions
from drsync.relay.pilot import Opening, Pilot, Search, open_at
from drsync.relay.places import Place, Places, Word
from drsync.relay.session import Session
from drsync.relay.telling import Event, Said, Tell

SEEK_S = 0.1  # because a new owner opens within tenths of a second, and looking costs a refused connection
HASTE_S = 15.0  # because whoever was not found until then is looked for every WATCH_S
WATCH_S = (
    1.0  # because the owner's connection usually tells first; this finds those that stopped and say nothing
)
ASK_S = 3.0  # because a coordinator that takes longer is as good as not there, and addresses are known
LOOK_S = 0.25  # because clients wait for seconds at least
REMIND_S = 15.0  # because a line a second would hide what happens, and a silent relay looks dead
STALL_S = 2.0  # because an owner answers in less, unless it waits for somebody itself


class Relay:
    """Its clients are told nothing of what happens here, unless acknowledged writes may be lost.

    Attributes:
        heard: told of what comes from owners.
        attached: there was an owner.
    """

    def __init__(
        self, options: RelayOptions, clock: Clock, dice: Random, tell: Tell, heard: Heard = unheard
    ) -> None:
        self.heard = heard
        self._options = options
        self._clock = clock
        self._dice = dice
        self._tell = tell
        self._patience = Patience(options.timeout_s)
        self._places = Places(options.places)
        self._sessions: dict[Session, None] = {}
        self._pilot: Pilot | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._news = asyncio.Event()
        self._alone_since: float | None = clock.now()
        self._reminded = 0.0
        self._has_given_up = False
        self._is_reached: bool | None = None
        self._excuses: dict[str, str] = {}
        self.attached = asyncio.Event()
        self.pursuit = Pursuit(options.after_loss)

    async def run(self) -> None:
        """Follow the owner until cancelled.

        Raises:
            UsageError: the coordinator knows no such group.
            TransientError: no owner was found in time at the start.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                tasks.create_task(self._watch())
                tasks.create_task(self._look())
                await self._follow()
            finally:
                self._tasks = None

    # --- the server's side

    @property
    def export(self) -> Export | None:
        """What clients may open now; None while they may not."""
        is_open = self._tasks is not None and not self.pursuit.broken
        return self.pursuit.export if is_open else None

    def welcome(self, chosen: Chosen, outlet: Outlet) -> Session:
        """A client has chosen the volume."""
        assert self._tasks is not None
        self.pursuit = self.pursuit.joined()
        session = Session(self, self._tasks, chosen, outlet, bytes.fromhex(self._dice.hex128()))
        self._sessions[session] = None
        return session

    # --- what sessions ask

    @property
    def options(self) -> RelayOptions:
        """See Home."""
        return self._options

    @property
    def place(self) -> Place | None:
        """See Home."""
        return self._pilot.place if self._pilot is not None and self._tasks is not None else None

    def take(self, epoch: Epoch, size: int = 0) -> bool:
        """See Home."""
        self._hear(epoch)
        is_taken = self._pilot is not None and self.pursuit.is_attached and epoch == self.pursuit.newest
        if is_taken and self.pursuit.export is not None:
            self._measured(replace(self.pursuit.export, size=size))
        return is_taken

    def client_left(self, session: Session) -> None:
        """See Home."""
        self._sessions.pop(session, None)
        was_broken = self.pursuit.broken
        self.pursuit = self.pursuit.left()
        if was_broken and not self.pursuit.broken:
            self._say(Event.MENDED, f"all clients of {self._options.name} have left: it can be opened again")
            self._news.set()

    # --- following

    async def _follow(self) -> None:
        while True:
            pilot = await self._seek()
            await pilot.gone.wait()
            self._pilot = None
            self._leave(pilot)

    async def _seek(self) -> Pilot:
        """Look for the owner until one is attached: everywhere at once, because some may stand still."""
        assert self._tasks is not None
        search = Search(self._options, self._tasks, self._news)
        try:
            while True:
                self._news.clear()
                if not self.pursuit.broken:
                    search.look(self._places.in_order())
                await _either(self._news, self._pause())
                for place, found in search.take():
                    pilot = self._judge(place, found)
                    if pilot is not None:
                        return pilot
                self._end_start()
        finally:
            search.end()

    def _judge(self, place: Place, found: Opening) -> Pilot | None:
        """Attach to what was found, or close it."""
        if isinstance(found, DrsyncError):
            self._excuses[place.center] = str(found)
            return None
        uplink, export = found
        if self.pursuit.broken:
            uplink.cut()
            return None
        before = self.pursuit.answered_in
        self.pursuit, offer = self.pursuit.offered(export)
        if offer is Offer.CARRY:
            self._own_up(before, export.served)
            return self._attach(Pilot(uplink, place), export)
        uplink.cut()
        if offer is Offer.BROKEN:
            self._break()
        else:
            self._excuses[place.center] = f"still serves epoch {show(export.served.epoch)}, which is deposed"
        return None

    def _attach(self, pilot: Pilot, export: Export) -> Pilot:
        self._pilot = pilot
        self._excuses.clear()
        self._has_given_up = False
        alone_since, self._alone_since = self._alone_since, None
        waited = (
            self._clock.now() - alone_since if alone_since is not None and self.attached.is_set() else 0.0
        )
        held = sum(len(session.passage.held) for session in self._sessions)
        epoch = show(export.served.epoch)
        again = "request" if held == 1 else "requests"
        after = f" after {waited:.2f} s; {held} {again} sent again" if waited else ""
        self._say(
            Event.ATTACHED,
            f"attached to {pilot.place.center} (epoch {epoch}){after}",
            center=pilot.place.center,
            epoch=export.served.epoch,
            epoch_text=epoch,
            uri=pilot.place.uri,
            waited_s=round(waited, 3),
            held=held,
        )
        self.attached.set()
        pilot.begin()
        for session in list(self._sessions):
            session.connect()
        return pilot

    @property
    def _excuse(self) -> str:
        """Why there is no owner, by center."""
        told = [f"{center}: {why}" for center, why in sorted(self._excuses.items())]
        return "; ".join(told) or "no address of an owner is known"

    def _own_up(self, before: Epoch, now: Served) -> None:
        """Going on after a loss, as told, is never silent."""
        if now.lost_in > before > NEVER:
            self._say(
                Event.LOSS,
                f"{self._options.name} goes on as told although acknowledged writes may be lost: epoch "
                f"{show(now.lost_in)} was opened with an admitted loss",
                is_bad=True,
                lost_in=now.lost_in,
            )

    def _leave(self, pilot: Pilot) -> None:
        """The owner is gone: first nothing of it is heard any more, then requests wait."""
        self.pursuit = self.pursuit.lost()
        for session in list(self._sessions):
            session.cut()
        self._alone_since = self._clock.now()
        newest = show(self.pursuit.newest)
        self._say(
            Event.WAITING,
            f"waiting for the owner of {self._options.name} (epoch {newest}): {pilot.reason}",
            epoch=self.pursuit.newest,
            epoch_text=newest,
            center=pilot.place.center,
            reason=pilot.reason,
        )

    def _hear(self, epoch: Epoch) -> None:
        """Somebody knows of an epoch; what is attached in an older one is cut at once."""
        self.pursuit = self.pursuit.heard(epoch)
        if self._pilot is not None and not self.pursuit.is_attached and not self._pilot.gone.is_set():
            for session in list(self._sessions):
                session.cut()
            self._pilot.end(f"epoch {show(self.pursuit.newest)} has begun")

    def _break(self) -> None:
        for session in list(self._sessions):
            session.refuse()
        reason = self.pursuit.broken
        self._say(
            Event.BROKEN,
            f"{self._options.name} is not carried on: {reason}. Every request is answered EIO until all "
            "clients have left; check the data, then attach again",
            is_bad=True,
            reason=reason,
        )

    def _end_start(self) -> None:
        """Give up a start that finds no owner."""
        if self.attached.is_set() or self._alone_since is None:
            return
        if self._patience.is_over(self._clock.now(), alone_since=self._alone_since, oldest_since=None):
            raise TransientError(
                f"no owner of {self._options.name} in {self._options.timeout_s:g} s: {self._excuse}",
                remedy="drsync why GROUP says what the group waits for; --center NAME=URI names an address.",
            )

    # --- looking around

    async def _watch(self) -> None:
        """Ask the coordinator; where it is not reached, ask the centers whose address is known."""
        options = self._options
        async with ApiClient(options.coordinator, options.token_file) as api:
            while True:
                try:
                    async with asyncio.timeout(ASK_S):
                        status = await api.get("/v1/status")
                except (DrsyncError, TimeoutError) as error:
                    self._reached(str(error) or f"no answer in {ASK_S:g} s")
                    await self._ask_centers()
                else:
                    self._reached("")
                    word = Word.of(status, options.group, options.volume)
                    self._learn(word)
                    await self._measure(word.size)
                await asyncio.sleep(self._pause())

    def _pause(self) -> float:
        """How long until the next look."""
        alone_since = self._alone_since
        is_hurried = alone_since is not None and self._clock.now() - alone_since < HASTE_S
        return SEEK_S if is_hurried else WATCH_S

    def _learn(self, word: Word) -> None:
        if not self.attached.is_set() and not self._options.places:
            _require_known(word, self._options)
        if self._places.learn(word):
            self._news.set()
        self._hear(word.epoch)

    def _measured(self, export: Export) -> None:
        before, self.pursuit = self.pursuit, self.pursuit.measured(export)
        if self.pursuit != before:
            text = f"{self._options.name} has {export.size} bytes now; clients that connect anew see it"
            self._say(Event.GROWN, text, size=export.size)

    async def _measure(self, size: int) -> None:
        """The volume is to have `size` bytes: look whether its owner serves them by now."""
        pilot, export = self._pilot, self.pursuit.export
        if pilot is None or export is None or size <= export.size:
            return
        try:
            uplink, found = await open_at(pilot.place, self._options)
        except DrsyncError:
            return  # whoever is attached to next says its size
        uplink.cut()
        if self._pilot is pilot:
            self._measured(found)

    async def _ask_centers(self) -> None:
        """While requests stand still: whether another center serves a newer epoch than the one attached."""
        pilot = self._pilot
        if pilot is None or not self._is_stalled():
            return
        for place in self._places.in_order():
            if place == pilot.place:
                continue
            try:
                uplink, export = await open_at(place, self._options)
            except DrsyncError:
                continue
            uplink.cut()
            self._hear(export.served.epoch)

    def _is_stalled(self) -> bool:
        now = self._clock.now()
        oldest = (session.waits_since for session in self._sessions)
        return any(since is not None and now - since >= STALL_S for since in oldest)

    def _reached(self, trouble: str) -> None:
        if self._is_reached is (not trouble):
            return
        was_unknown, self._is_reached = self._is_reached is None, not trouble
        if trouble:
            text = f"the coordinator is not reached ({trouble}); following by the addresses that are known"
            self._say(Event.COORDINATOR, text, is_bad=True, reached=False)
        elif not was_unknown:
            self._say(Event.COORDINATOR, "the coordinator is reached again", reached=True)

    async def _look(self) -> None:
        """End the patience of clients."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._clock.now()
            self._remind(now)
            for session in list(self._sessions):
                if session.look(now, self._alone_since, self._patience):
                    self._give_up(session)

    def _remind(self, now: float) -> None:
        """What is still waited for, and why, for whoever looks at the log in the meantime."""
        since = self._alone_since
        if since is None or not self.attached.is_set() or self.pursuit.broken:
            self._reminded = now
        elif now - max(since, self._reminded) >= REMIND_S:
            self._reminded = now
            self._say(
                Event.WAITING,
                f"still waiting for the owner of {self._options.name} ({now - since:.0f} s): {self._excuse}",
                epoch=self.pursuit.newest,
                epoch_text=show(self.pursuit.newest),
                reason=self._excuse,
                waited_s=round(now - since, 1),
            )

    def _give_up(self, session: Session) -> None:
        count = session.refuse()
        session.connect()
        if self._has_given_up:
            return
        self._has_given_up = True
        self._say(
            Event.GIVING_UP,
            f"no answer of an owner of {self._options.name} for {self._options.timeout_s:g} s: {count} "
            "requests are answered EIO, and new ones too until there is one",
            is_bad=True,
            failed=count,
        )

    def _say(self, event: Event, text: str, *, is_bad: bool = False, **facts: object) -> None:
        self._tell(Said(event, text, {"volume": self._options.name, **facts}, is_bad))


def _require_known(word: Word, options: RelayOptions) -> None:
    """Raises UsageError: what was asked for does not exist."""
    if not word.is_known:
        raise UsageError(f"there is no group {options.group}", remedy="drsync status lists them.")
    if word.volumes and options.volume not in word.volumes:
        known = ", ".join(word.volumes)
        raise UsageError(f"group {options.group} has no volume {options.volume}", remedy=f"It has {known}.")


async def _either(news: asyncio.Event, seconds: float) -> None:
    """Until there is news, or time has passed."""
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        return
