"""Members of one group as a model in memory: they answer what an agent answers, and can be made silent."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from drsync.core import lineage
from drsync.core.lease import LeaseBook
from drsync.core.loss import LossStatement
from drsync.core.observation import LastKnown
from drsync.model.charter import Charter
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import NEVER, Epoch
from drsync.model.errors import RefusedError, TransientError
from drsync.model.group import GroupPolicy, GroupSpec, VolumeSpec
from drsync.model.operation import Step
from drsync.model.position import ORIGIN, EpochRun, EpochStart, Position
from drsync.model.topology import Center, Designation
from drsync.wire import control

Json = dict[str, object]

A, B, C = "production", "same_city", "remote"
GROUP = "0" * 31 + "1"
LEASE_S = 10.0


def chain(epoch: int, seq: int) -> bytes:
    """A chain that depends on where it is, nothing else."""
    return bytes((epoch % 256,)) + seq.to_bytes(15)


def spec(**policy: float) -> GroupSpec:
    """A group of three centers in two cities."""
    members = (
        Center(A, Designation.PRODUCTION, "beijing"),
        Center(B, Designation.SAME_CITY, "beijing"),
        Center(C, Designation.REMOTE, "guangzhou"),
    )
    volumes = (VolumeSpec("f" * 32, "data", 1 << 20, 1),)
    return GroupSpec(GROUP, "orders", volumes, members, A, policy=GroupPolicy(**policy))  # type: ignore[arg-type]


class FakeClock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.on_sleep: list[Callable[[], None]] = []

    def now(self) -> float:
        return self.time

    def wall_us(self) -> int:
        return int(self.time * 1e6)

    async def sleep_until(self, instant: float) -> None:
        self.time = max(self.time, instant)
        for told in self.on_sleep:
            told()

    def until_round(self, period_s: float, slack_s: float = 0.0) -> float:
        return period_s


class FakeRandom:
    """Counts."""

    def __init__(self) -> None:
        self.n = 0

    def hex128(self) -> str:
        self.n += 1
        return f"{self.n:032x}"

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


@dataclass
class Member:
    """One copy. `log` is its runs; applied and commit follow the log."""

    word: Statement
    charter: Charter | None = None
    term: Epoch = NEVER


class KilledError(Exception):
    """The coordinator died here."""


@dataclass
class FakeMembers:
    """Implements `Members`. `deaf` centers do not answer; `kill_after` counts changing calls until death."""

    members: dict[str, Member]
    deaf: set[str] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    kill_after: int | None = None
    is_target_slow: bool = False

    def is_connected(self, center: str) -> bool:
        return center not in self.deaf

    async def call(self, center: str, method: str, body: Json, timeout_s: float) -> Json:
        if center in self.deaf:
            raise TransientError(f"{center} is silent")
        member = self.members[center]
        if method != "group.statement":
            self.asked.append((center, method))
            getattr(self, "_" + method.split(".")[1])(member, body)
            self.count()
        return {"statement": control.to_json(member.word)}

    def count(self) -> None:
        """One more moment at which the coordinator may die."""
        if self.kill_after is not None:
            self.kill_after -= 1
            if self.kill_after < 0:
                raise KilledError

    def _seal(self, member: Member, body: Json) -> None:
        epoch = Epoch(int(str(body["epoch"])))
        if epoch < member.word.promised:
            raise RefusedError("promised more")
        state = CopyState.SEALED if member.word.follow < epoch else member.word.state
        member.word = replace(member.word, promised=epoch, state=state)

    def _freeze(self, member: Member, _body: Json) -> None:
        if member.word.state not in (CopyState.OWNER, CopyState.FROZEN):
            raise RefusedError("not the owner")
        member.word = replace(member.word, state=CopyState.FROZEN)
        if not self.is_target_slow:
            for other in self.members.values():
                if other.word.follow == member.word.follow and other is not member:
                    level(other, member.word)

    def _release(self, member: Member, _body: Json) -> None:
        if member.word.state is CopyState.FROZEN:
            member.word = replace(member.word, state=CopyState.SEALED)

    def _prepare(self, member: Member, body: Json) -> None:
        assert member.word.promised == body["epoch"]
        history = control.history_from_json(body["history"])
        donors = body["donors"]
        assert isinstance(donors, list)
        for donor in donors:
            if donor not in self.deaf:
                level(member, self.members[donor].word)
        end = lineage.belongs(history, member.word.runs, member.word.first_seq)
        assert end == member.word.appended, "a cut: not in these stories"
        member.word = replace(member.word, durable=member.word.appended)

    def _open(self, member: Member, body: Json) -> None:
        charter = control.from_json(Charter, body["charter"])
        word = member.word
        if member.term == charter.epoch:
            return
        assert (charter.owner, charter.owner_session) == (word.center, word.session)
        assert word.promised == charter.epoch > word.follow
        assert charter.history[-1].fork_seq == word.appended
        seq = word.appended + 1
        run = EpochRun(charter.epoch, seq, seq, chain(charter.epoch, seq))
        member.term = charter.epoch
        member.word = replace(
            word,
            state=CopyState.OWNER,
            follow=charter.epoch,
            runs=(*word.runs, run),
            appended=seq,
            durable=seq,
            commit=seq,
            tip=Position(charter.epoch, seq, run.last_chain),
        )


def level(member: Member, with_: Statement) -> None:
    """Give a member another's log."""
    member.word = replace(
        member.word,
        runs=with_.runs,
        appended=with_.appended,
        durable=with_.appended,
        commit=with_.commit,
        tip=with_.tip,
    )


@dataclass
class FakeDesk:
    """Implements `Desk`: one lease book, everything trusted."""

    clock: FakeClock
    book: LeaseBook = field(default_factory=LeaseBook)
    ready: str = ""
    known: LastKnown | None = None

    def lease(self, group_id: str) -> LeaseBook:
        return self.book

    def released(self, group_id: str, center: str, epoch: Epoch) -> None:
        self.book = self.book.release(center, epoch)

    def store_ready(self, group_id: str) -> str:
        return self.ready

    def last_known(self, group_id: str) -> LastKnown | None:
        return self.known

    def heard(self, group_id: str, statement: Statement) -> Statement:
        return statement

    def guard(self, current: Charter | None, new: Charter) -> str | None:
        if current is not None and not self.book.may_change_owner(current, new, self.clock.now()):
            return "lease"
        return None


@dataclass
class Notes:
    """Implements `Progress`."""

    steps: list[Step] = field(default_factory=list)
    losses: list[LossStatement] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)

    def stepped(self, step: Step) -> None:
        self.steps.append(step)

    def stated(self, loss: LossStatement) -> None:
        self.losses.append(loss)

    def waiting(self, reason: str, until: float | None) -> None:
        if reason:
            self.waits.append(reason)

    @property
    def names(self) -> list[str]:
        return [step.name for step in self.steps]


def served(appended: int = 40) -> tuple[Charter, dict[str, Member]]:
    """Production owns epoch 1, same-city is in sync, remote is 3 records behind."""
    epoch = Epoch(1)
    history = (EpochStart(epoch, "u" * 8, 0, ORIGIN.chain),)
    charter = Charter(spec(), 1, 0, A, f"session-{A}", epoch, frozenset((A, B)), history)
    members = {}
    for name, last in ((A, appended), (B, appended), (C, appended - 3)):
        end = chain(1, last)
        members[name] = Member(
            Statement(
                name,
                f"session-{name}",
                f"store-{name}",
                CopyState.OWNER if name == A else CopyState.REPLICA,
                epoch,
                epoch,
                1,
                (EpochRun(epoch, 1, last, end),),
                last,
                last,
                0,
                last,
                Position(epoch, last, end),
            ),
            charter,
            epoch if name == A else Epoch(0),
        )
    return charter, members
