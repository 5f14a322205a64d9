"""`lab demo`: a drill, the loss of the production center, the way back; measured and checked.

The story in its order. How each promise is checked is in `proofs`, what was found in `outcome`.
"""

import asyncio
import time

from drsync.adapters.api_client.client import ApiClient, quote
from drsync.adapters.api_client.doc import Doc, Json
from drsync.adapters.api_client.following import failure, follow
from drsync.config.quantities import format_size
from drsync.lab.cluster import Cluster
from drsync.lab.demo_files import DemoFiles
from drsync.lab.layout import (
    CENTER_NAMES,
    COORDINATOR,
    GROUP,
    LEDGER,
    PROCESSES,
    PRODUCTION,
    REMOTE,
    SAME_CITY,
)
from drsync.lab.narrator import BAD, GOOD, Narrator
from drsync.lab.outcome import DrillFinding, Outcome, show_table
from drsync.lab.proofs import Proofs
from drsync.lab.status import group_of, owner_uri
from drsync.lab.writer import LedgerWriter
from drsync.model.errors import DrsyncError, TransientError
from drsync.model.operation import StepOutcome

READY_SECONDS = 60.0  # because a journal that was written meanwhile is sent first
FIRST_WRITE_SECONDS = 15.0
RATE_SECONDS = 1.0
EQUAL_SECONDS = 10.0  # because centers say where they are each second
RETURN_SECONDS = 60.0  # because the center that was lost starts, compares and catches up
ACTOR = "drsync lab demo"
LOSS_WORDS = {
    "none": "nothing that was acknowledged is lost",
    "volatile": "writes that were acknowledged but never flushed may be lost",
    "forced": "acknowledged writes may be lost",
}


class Demo:
    """One run of the story. One use."""

    def __init__(self, cluster: Cluster, tell: Narrator, *, is_fresh: bool) -> None:
        """`is_fresh`: nobody but the lab can have written to the volumes so far."""
        self.outcome = Outcome()
        self._cluster = cluster
        self._tell = tell
        self._stated = ""
        self._writing: asyncio.Task[None] | None = None
        self._writer = LedgerWriter(self._ledger)
        self._proofs = Proofs(cluster, tell, self.outcome, is_fresh=is_fresh)
        self._files = DemoFiles(cluster, tell, self.outcome)

    async def run(self) -> Outcome:
        """Tell the story; a story that cannot go on is a broken promise, too."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            self._writing = writing = tasks.create_task(self._writer.run())
            editing = tasks.create_task(self._files.editor.run())
            try:
                await self._story()
            except DrsyncError as error:
                self._tell.error(error)
                self.outcome.broken.append(str(error))
            finally:
                writing.cancel()
                editing.cancel()
                await self._leave_running()
        self.outcome.acknowledged = self._writer.acknowledged
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    async def _story(self) -> None:
        async with self._cluster.api() as api:
            await self._begin(api)
            await self._practise(api)
            await self._lose_production(api)
            await self._go_back(api)
            await self._compare(api)
            await self._sum_up()

    async def _leave_running(self) -> None:
        """Whatever happened, all processes run at the end."""
        for name in PROCESSES:
            if name not in self._cluster.alive():
                self._cluster.start(name)

    # --- the chapters

    async def _begin(self, api: ApiClient) -> None:
        tell = self._tell
        tell.chapter("An application writes to the volume “ledger”, and follows its owner")
        await self._leave_running()
        with tell.waiting("waiting until every center is level"):
            await self._cluster.wait_for("all centers connected and level", _is_level, READY_SECONDS)
            await self._bring_home(api)
            await self._writer.write_since(time.monotonic(), FIRST_WRITE_SECONDS)
        began, before = time.monotonic(), self._writer.acknowledged
        await asyncio.sleep(RATE_SECONDS)
        rate = (self._writer.acknowledged - before) / (time.monotonic() - began)
        tell.check(
            f"{rate:.0f} writes a second, each acknowledged by {PRODUCTION} and {SAME_CITY}", is_good=rate > 0
        )
        await self._files.begin(PRODUCTION)

    async def _bring_home(self, api: ApiClient) -> None:
        """After a demo that broke off, the owner may be elsewhere."""
        owner = group_of(await api.get("/v1/status")).text("owner")
        if owner != PRODUCTION:
            self._tell.say(f"the owner is {owner}: bringing the group back to {PRODUCTION} first")
            await self._move(api, "switchover", PRODUCTION)

    async def _practise(self, api: ApiClient) -> None:
        self._tell.chapter("A drill at the remote center: a failover of an isolated copy")
        drill = await self._drill(api, REMOTE)
        self._proofs.imported_content(drill)

    async def _lose_production(self, api: ApiClient) -> None:
        tell, proofs = self._tell, self._proofs
        tell.chapter("The production center dies, and the same-city center takes over")
        victim = self._cluster.alive()[PRODUCTION]
        old_place, died_at = self._writer.uri, time.monotonic()
        await self._cluster.kill(PRODUCTION)
        tell.say(f"SIGKILL to the production agent (process {victim.pid})", BAD)
        await self._files.lost()
        await self._move(api, "failover", SAME_CITY)
        first = await self._writer.write_since(died_at, READY_SECONDS, not_at=old_place)
        self.outcome.failover_s = first - died_at
        aim = group_of(await api.get("/v1/status")).doc("objectives").number("rto_s")
        proofs.promise(
            f"the application writes again {self.outcome.failover_s:.1f} s after the kill "
            f"(RTO target {aim:.0f} s)",
            is_kept=self.outcome.failover_s <= aim,
        )
        await proofs.ledger(self._writer, await self._ledger())
        await self._files.failed_over(SAME_CITY, died_at, _rpo(await api.get("/v1/status")))
        await proofs.file_systems(await api.get("/v1/status"))

    async def _go_back(self, api: ApiClient) -> None:
        tell, outcome = self._tell, self.outcome
        tell.chapter("The way back: production returns as a replica, then owns the group again")
        self._cluster.start(PRODUCTION)
        began = time.monotonic()
        with tell.waiting("production compares histories and catches up"):
            status = await self._cluster.wait_for(
                f"{PRODUCTION} in sync again",
                _is_back,
                RETURN_SECONDS,
            )
        center = group_of(status).doc("centers").doc(PRODUCTION)
        sent = center.whole("sent_bytes") if center.has("sent_bytes") else None
        outcome.resent_bytes = sent
        total = sum(volume.size for volume in self._cluster.record.volumes)
        how = (
            f"; {format_size(sent)} sent, not the {format_size(total)} of its volumes"
            if sent is not None
            else ""
        )
        self._proofs.promise(
            f"{PRODUCTION} is in sync after {time.monotonic() - began:.1f} s{how}",
            is_kept=sent is None or sent < total // 2,
        )
        await self._files.returned(RETURN_SECONDS)
        await self._files.pause(SAME_CITY)
        since = time.monotonic()
        await self._move(api, "switchover", PRODUCTION)
        await self._files.moved(PRODUCTION)
        await self._writer.write_since(time.monotonic(), READY_SECONDS)
        pause = self._writer.longest_pause(since)
        outcome.pause_s = pause.seconds
        self._proofs.promise(
            f"the application paused for {pause.seconds:.2f} s, and no more",
            is_kept=pause.seconds <= _rto(status),
        )
        await self._proofs.ledger(self._writer, await self._ledger())

    async def _compare(self, api: ApiClient) -> None:
        self._tell.chapter("Every copy beside its source, at the same record")
        for center in (SAME_CITY, REMOTE):
            await self._drill(api, center)
        await self._files.compare(PRODUCTION)

    async def _sum_up(self) -> None:
        tell = self._tell
        assert self._writing is not None
        self._writing.cancel()  # so that the table shows one moment and not three
        with tell.waiting("the application has stopped; waiting until every center has everything"):
            status = await self._when_equal()
        group = group_of(status)
        for name in CENTER_NAMES:
            rpo, aim = (
                group.doc("centers").doc(name).number("rpo_actual_s"),
                group.doc("objectives").number("rpo_s"),
            )
            if name != group.text("owner") and rpo > aim:
                self._proofs.promise(f"RPO of {name}: {rpo:.1f} s of {aim:.0f} s", is_kept=False)
        tell.chapter("Where everything stands")
        show_table(tell, group, self.outcome)

    async def _when_equal(self) -> Doc:
        """The status with every center at one record; somebody else may write, then it is what it is."""
        try:
            return await self._cluster.wait_for("all centers at one record", _is_equal, EQUAL_SECONDS)
        except TransientError:
            return await self._cluster.wait_for("all centers level", _is_level, READY_SECONDS)

    # --- operations

    async def _move(self, api: ApiClient, kind: str, center: str) -> Doc:
        """A switchover or a failover, step by step."""
        body: Json = {"to": center, "reason": "the lab's demo", "actor": ACTOR}
        if kind == "failover":
            body |= {"accept_loss": False, "dry_run": False}
        return await self._operate(api, kind, body)

    async def _drill(self, api: ApiClient, center: str) -> Doc:
        """A drill, judged."""
        body: Json = {"at": center, "point": "", "reason": "the lab's demo", "actor": ACTOR}
        operation = await self._operate(api, "drill", body)
        identity = operation.text("id")
        report = await api.get(f"/v1/drills/{quote(identity)}")
        page = self._cluster.layout.reports / f"drill-{identity[:12]}.html"
        page.parent.mkdir(exist_ok=True)
        page.write_bytes(await api.fetch(f"/v1/drills/{quote(identity)}/report.html"))
        content = report.text("content").replace("_", " ")
        self.outcome.drills[center] = DrillFinding(
            identity,
            center,
            report.text("verdict"),
            report.whole("position"),
            report.text("content"),
            report.number("rto_s"),
            str(page),
        )
        self._proofs.promise(
            f"{center}: opened in {report.number('rto_s'):.2f} s at record {report.whole('position')}; "
            f"content {content} to {report.text('owner')}'s at that record; cleaned up",
            is_kept=report.text("verdict") == "passed",
        )
        for reason in report.texts("reasons"):
            self._tell.say(reason, "yellow")
        return report

    async def _operate(self, api: ApiClient, kind: str, body: Json) -> Doc:
        """Start an operation of the coordinator and show its steps."""
        tell = self._tell
        tell.say(f"drsync {_as_typed(kind, body)}", "bold")
        started = await api.post(f"/v1/groups/{GROUP}/{kind}", body)
        ended = await follow(api, started.text("operation"), self._step, on_answer=self._loss)
        error = failure(ended)
        if error is not None:
            raise error
        return ended

    def _loss(self, operation: Doc) -> None:
        """What a failover gives up, as soon as it is stated: before the commit."""
        loss = operation.doc("loss")
        if not loss or operation.text("kind") != "failover" or self._stated == operation.text("id"):
            return
        self._stated = operation.text("id")
        word = loss.text("loss")
        self._tell.say(
            f"loss statement: opening at {loss.text('target')} at record {loss.text('position')}: "
            f"{LOSS_WORDS.get(word, word)}",
            GOOD if word == "none" else BAD,
        )
        for tree in loss.docs("files"):
            known = f"generation {tree.whole('held')} of {tree.whole('known')}"
            age = f"{tree.number('seconds'):.1f} s" if tree.has("seconds") else "an unknown time"
            self._tell.say(f"files “{tree.text('fileset')}”: {known}; edits of the last {age} may be lost")

    def _step(self, step: Doc) -> None:
        self._tell.step(
            step.text("name"),
            step.text("center") or COORDINATOR,
            step.number("seconds"),
            step.text("detail"),
            is_done=step.text("outcome") == StepOutcome.DONE,
        )

    async def _ledger(self) -> str:
        """Where the ledger is served now."""
        async with self._cluster.api() as api:
            return owner_uri(await api.get("/v1/status"), LEDGER)


def _as_typed(kind: str, body: Json) -> str:
    """The command a person would have typed."""
    if kind == "drill":
        return f"drill run {GROUP} --at {body['at']}"
    return f"{kind} {GROUP} --to {body['to']}"


def _rto(status: Doc) -> float:
    return group_of(status).doc("objectives").number("rto_s")


def _rpo(status: Doc) -> float:
    return group_of(status).doc("objectives").number("rpo_s")


def _is_level(status: Doc) -> bool:
    """All connected, both centers of the city in sync, the remote one a moment behind at most."""
    group = group_of(status)
    connected = all(status.doc("centers").doc(name).flag("connected") for name in CENTER_NAMES)
    in_sync = {PRODUCTION, SAME_CITY} <= set(group.texts("in_sync"))
    aim = group.doc("objectives").number("rpo_s")
    remote = group.doc("centers").doc(REMOTE)
    is_near = remote.has("rpo_actual_s") and remote.number("rpo_actual_s") <= aim
    return connected and in_sync and is_near


def _is_equal(status: Doc) -> bool:
    """Every center has the owner's last record."""
    centers = [group_of(status).doc("centers").doc(name) for name in CENTER_NAMES]
    is_same = len({center.whole("position") for center in centers}) == 1
    return _is_level(status) and is_same and not any(center.whole("lag_records") for center in centers)


def _is_back(status: Doc) -> bool:
    """The center that was lost follows the new owner, in sync and level."""
    center = group_of(status).doc("centers").doc(PRODUCTION)
    has_figures = not center.has("sent_bytes") or center.whole("sent_bytes") > 0  # they come with heartbeats
    return _is_level(status) and center.text("role") == "replica" and has_figures
