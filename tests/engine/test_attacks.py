"""Late requests, failing parts and crowded links: nothing acknowledged is lost, nobody else is taken down."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.adapters.memory.transport import MemoryNetwork
from drsync.adapters.nbd.client import NbdClient
from drsync.adapters.system.clock import SystemClock, SystemRandom
from drsync.agent.broken import BrokenCopy
from drsync.agent.exports import Sockets
from drsync.agent.front_end import NbdFrontEnd
from drsync.agent.headquarters import Headquarters
from drsync.engine import receiver
from drsync.engine.fold import FOLD_INTERVAL_S
from drsync.engine.member import Member
from drsync.engine.rpc import Endpoint, Me
from drsync.engine.views import GroupView
from drsync.model.charter import Charter, IntentKind
from drsync.model.copy import CopyState
from drsync.model.epoch import Epoch
from drsync.model.errors import DrsyncError, FailedCopyError, MalformedError, RefusedError
from drsync.model.operation import OperationState
from drsync.model.position import EpochStart, Loss
from drsync.ports.transport import Call, Link
from drsync.wire import control
from tests.engine.test_town import BLOCK, Writer, content, is_serving
from tests.engine.town import GROUP, town

Json = dict[str, object]


async def test_a_late_prepare_does_not_cut_what_an_in_sync_member_acknowledged(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 40)
        await place.until(lambda: len(writer.acknowledged) == 40)
        charter = await place.charter()
        mate = place.member("same_city")
        before = mate.copy.journal.tip
        with pytest.raises(RefusedError):
            await mate.prepare(charter.epoch, charter.history[:-1], ())
        assert mate.copy.journal.tip.seq >= before.seq


async def test_a_late_open_does_not_end_the_present_term(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        old = await place.charter()
        assert (await place.run(IntentKind.SWITCHOVER, "same_city")).state is OperationState.DONE
        await place.until(lambda: place.is_in_sync("same_city", "production"))
        assert (await place.run(IntentKind.SWITCHOVER, "production")).state is OperationState.DONE
        await place.until(lambda: is_serving(place, "production"))
        term = place.member("production").term
        with pytest.raises(RefusedError):
            await place.member("production").open(old)
        assert place.member("production").term is term
        assert is_serving(place, "production")


async def test_an_owner_whose_image_fails_serves_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        owner = place.member("production")

        def broken() -> None:
            raise FailedCopyError("image: input/output error")

        monkeypatch.setattr(owner.copy.volumes.views[0].image, "sync", broken)
        writer = Writer(place, "production")
        writer.write_many(1, 20)
        await place.until(lambda: owner.copy.state is CopyState.FAILED)
        await place.until(lambda: owner.term is None)
        assert owner.device("disk") is None
        assert (await place.run(IntentKind.FAILOVER, "same_city")).state is OperationState.DONE
        await place.until(lambda: is_serving(place, "same_city"))
        for cookie in writer.acknowledged:
            number = int.from_bytes(cookie, "big")
            assert content(place, "same_city", number) == number


async def test_a_copy_that_failed_while_it_attached_stays_failed(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        charter = await place.charter()
        remote = place.member("remote")
        tip = remote.copy.journal.tip
        remote.copy.fail(FailedCopyError("fsync: input/output error"), is_lasting=True)
        with pytest.raises(DrsyncError):
            await remote.follow(charter.epoch, charter.version, tip.seq, tip.chain, "")
        assert remote.copy.state is CopyState.FAILED


async def test_a_long_tail_is_fetched_in_as_many_pieces_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver, "FETCH_BYTES_MAX", 1)
    monkeypatch.setattr(receiver, "FETCH_PIECE", 1)
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        place.cuts |= {frozenset(("production", "remote"))}
        writer.write_many(1, 100)
        await place.until(lambda: len(writer.acknowledged) == 100)
        await place.nodes["production"].die()
        place.cuts.clear()
        outcome = await place.run(IntentKind.FAILOVER, "remote")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "remote"))
        assert all(content(place, "remote", number) == number for number in range(1, 101))


async def test_a_failover_away_from_an_owner_that_only_the_coordinator_cannot_see(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        writer = Writer(place, "production")
        writer.write_many(1, 20)
        await place.until(lambda: len(writer.acknowledged) == 20)
        place.cuts |= {frozenset(("production", where)) for where in ("store", "coordinator")}
        end = place.clock.now() + 2 * GROUP.policy.lease_s
        await place.until(lambda: place.clock.now() > end)
        assert is_serving(place, "production"), "it goes on in company"
        outcome = await place.run(IntentKind.FAILOVER, "same_city")
        assert outcome.state is OperationState.DONE, outcome
        await place.until(lambda: is_serving(place, "same_city"))
        assert not is_serving(place, "production")
        assert all(content(place, "same_city", number) == number for number in range(1, 21))


class Coordinator:
    """Answers a headquarters: registers it and tells the charter each time."""

    def __init__(self, charter: Charter) -> None:
        self.charter = charter
        self.beats = 0

    def handlers(self) -> dict[str, Call]:
        async def register(_method: str, _body: Json) -> Json:
            return {"token": 1, "charters": {GROUP.id: control.to_json(self.charter)}}

        async def heartbeat(_method: str, _body: Json) -> Json:
            self.beats += 1
            return {"leases": {}, "charters": {GROUP.id: control.to_json(self.charter)}}

        return {"register": register, "heartbeat": heartbeat}


class BusyHost:
    """An agent whose only group is busy: its lock is held, as during a long fetch."""

    def __init__(self) -> None:
        self.never = asyncio.Event()
        self.asked = 0

    def members(self) -> list[Member]:
        return []

    def broken(self) -> list[BrokenCopy]:
        return []

    def openings(self, member: Member) -> Json:
        return {}

    def silent_s(self) -> dict[str, float]:
        return {}

    async def adopt(self, charter: Charter) -> Member:
        self.asked += 1
        await self.never.wait()
        raise AssertionError(charter)

    def report(self, member: Member) -> Json | None:
        raise AssertionError(member)

    def registration(self) -> Json:
        return {}

    async def keep_token(self, token: int) -> None:
        """Nothing is kept here."""

    def log(self, event: str, reason: str) -> None:
        """Not asked for here."""


async def test_a_busy_group_does_not_hold_up_the_heartbeats_of_the_others() -> None:
    network = MemoryNetwork()
    clock, dice = SystemClock(), SystemRandom()
    coordinator, host = Coordinator(Charter(GROUP)), BusyHost()

    def endpoint(name: str, handlers: dict[str, Call]) -> Callable[[Link], Endpoint]:
        return lambda link: Endpoint(link, clock, handlers, Me("c", name, "1" * 32, "", "test"))

    async with asyncio.TaskGroup() as tasks:
        accept = endpoint("coordinator", coordinator.handlers())
        served: list[asyncio.Task[None]] = []
        network.listen("coordinator", lambda link: served.append(tasks.create_task(accept(link).run())))
        transport = network.transport("production")
        headquarters = Headquarters(host, transport, clock, dice, endpoint("production", {}))
        running = tasks.create_task(headquarters.run())
        async with asyncio.timeout(5):
            while coordinator.beats < 3:
                headquarters.beat_soon()
                await asyncio.sleep(0)
        running.cancel()
        for task in served:
            task.cancel()
    assert host.asked == 1, "it is not asked again while it is busy"


async def test_a_client_of_an_ended_term_is_dropped_even_if_the_next_has_begun(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        owner = place.member("production")
        sockets = Sockets(NbdFrontEnd(tmp_path / "run"), lambda _what, _why: None)
        await sockets.serve_group(owner)
        client = await NbdClient.connect(sockets.uris(owner)["disk"])
        first = owner.term
        charter = await place.charter()
        await owner.seal(Epoch(charter.epoch + 1))
        assert (await place.run(IntentKind.OPEN, "production")).state is OperationState.DONE
        await place.until(lambda: is_serving(place, "production"))
        assert owner.term is not first
        await sockets.serve_group(owner)  # as late as this when another group's clients are slow to leave
        with pytest.raises(DrsyncError):
            await client.write(0, bytes(BLOCK))
        await client.close()
        again = await NbdClient.connect(sockets.uris(owner)["disk"])
        await again.write(0, bytes(BLOCK))
        await again.close()
        await sockets.close()


async def test_no_view_is_opened_where_a_running_drain_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        owner = place.member("production")
        volumes, image = owner.copy.volumes, owner.copy.volumes.views[0].image
        reached: list[int] = []
        may_go_on = threading.Event()

        def slow() -> None:
            reached.append(owner.copy.durable.reached)
            may_go_on.wait(10)

        monkeypatch.setattr(image, "sync", slow)
        base = volumes.applied
        Writer(place, "production").write_many(1, 20)
        await place.until(lambda: reached != [])
        try:
            # Marks alone need no sync of an image, so that they may have been applied before.
            assert reached[0] > volumes.applied >= base, "durable before the first byte is written"
            with pytest.raises(RefusedError):
                owner.views.hold("v", base)
            assert owner.statement().applied == reached[0]
        finally:
            may_go_on.set()


async def test_a_view_opened_while_the_fold_makes_up_its_mind_is_not_folded_past(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        remote = place.member("remote")
        volumes = remote.copy.volumes
        at = volumes.reached
        record = volumes.record_through
        held: list[GroupView] = []

        async def record_and_hold(seq: int) -> None:
            await record(seq)
            if not held and seq > at:
                held.append(remote.views.hold("v", at))

        monkeypatch.setattr(volumes, "record_through", record_and_hold)
        policy = replace(GROUP.policy, window_s=0.0)
        monkeypatch.setattr(remote.copy, "spec", replace(GROUP, policy=policy))
        Writer(place, "production").write_many(1, 20)
        await place.until(lambda: held != [])
        end = place.clock.now() + 2 * FOLD_INTERVAL_S
        await place.until(lambda: place.clock.now() > end)
        assert volumes.reached == volumes.applied == at
        remote.views.release("v")
        await place.until(lambda: volumes.applied > at)


async def test_after_a_crash_in_a_drain_the_log_is_not_cut_below_what_the_images_may_hold(
    tmp_path: Path,
) -> None:
    async with town(tmp_path) as place:
        Writer(place, "production").write_many(1, 20)
        mate = place.member("same_city")
        await place.until(lambda: mate.copy.journal.tip.seq > 20)
        mate.copy.volumes.reached = (await mate.copy.sync()) - 1
        await mate.copy.store(lambda d: d)
        await place.nodes["same_city"].die()
        again = place.start("same_city").open_copy(GROUP)
        assert again.copy.volumes.applied < again.copy.volumes.reached == again.statement().applied
        with pytest.raises(FailedCopyError):
            await again.copy.cut(again.copy.volumes.reached - 1, "")


async def test_a_view_of_records_that_are_cut_reads_nothing_any_more(tmp_path: Path) -> None:
    async with town(tmp_path) as place:
        Writer(place, "production").write_many(1, 20)
        mate = place.member("same_city")
        await place.until(lambda: mate.copy.journal.tip.seq > 20)
        fork = mate.copy.journal.batch_end_at_or_below(10)
        view = mate.views.hold("v", mate.copy.journal.tip.seq)
        await view.build()
        device = view.device(GROUP.volumes[0])
        assert [is_hole for _, is_hole in device.extents(0, device.size, 9)] == [True, False, True]
        charter = await place.charter()
        epoch = Epoch(charter.epoch + 1)
        await mate.seal(epoch)
        start = EpochStart(Epoch(charter.epoch + 1), "1" * 32, fork.seq, fork.chain, Loss.FORCED)
        await mate.prepare(epoch, (*charter.history, start), ())
        assert mate.copy.journal.tip.seq == fork.seq
        assert mate.views.ids() == []
        assert device.read_into(0, memoryview(bytearray(BLOCK))) != 0
        assert device.extents(0, device.size, 9) == [(device.size, False)]
        with pytest.raises(RefusedError):
            await view.hash()


async def test_a_peer_that_needs_trimmed_records_loses_its_stream_and_the_owner_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        owner = place.member("production")
        term = owner.term
        assert term is not None
        attachment = term.attachments["remote"]

        def trimmed(after_seq: int, _bytes_max: int) -> tuple[bytes, int]:
            raise MalformedError(f"seq {after_seq} is trimmed")

        attachment.feed.is_paused = True
        writer = Writer(place, "production")
        writer.write_many(1, 20)
        await place.until(lambda: len(writer.acknowledged) == 20)
        with monkeypatch.context() as patch:
            patch.setattr(owner.copy.journal, "read_batches", trimmed)
            attachment.resume()
        assert attachment.is_lost
        assert is_serving(place, "production")
        remote = place.member("remote").copy.journal
        await place.until(lambda: remote.tip == owner.copy.journal.tip)


async def test_a_checkpoint_that_could_not_be_written_is_not_reported_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with town(tmp_path) as place:
        owner = place.member("production")

        def no_space(*_: object) -> int:
            raise FailedCopyError("append: no space left on device")

        monkeypatch.setattr(owner.copy.journal, "append", no_space)
        body: Json = {"group": GROUP.id, "name": "before the release", "hold": False}
        with pytest.raises(FailedCopyError):
            await place.call("production", "group.checkpoint", body, 5)
        await place.until(lambda: owner.term is None)
        assert owner.copy.state is CopyState.FAILED
