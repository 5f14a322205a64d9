"""INV-05, INV-06, INV-14: what is applied, committed and answered is where it must be; one owner answers."""

from typing import TYPE_CHECKING

from drsync.engine.member import Member
from drsync.model.charter import Charter
from drsync.model.epoch import generation
from drsync.model.position import Loss
from drsync.sim.character import NAMES
from drsync.sim.client import Export
from drsync.sim.invariants.charters import Charters
from drsync.sim.invariants.holdings import Holdings
from drsync.sim.ledger import ViolationError, era_of

if TYPE_CHECKING:
    from drsync.sim.world import World


class Bounds:
    """Of one group."""

    def __init__(self, world: "World", charters: Charters, holdings: Holdings) -> None:
        self._world = world
        self._charters = charters
        self._holdings = holdings

    def look_at_member(self, name: str, member: Member) -> None:
        """INV-05: images hold nothing that is not committed and durable. Raises ViolationError."""
        copy = member.copy
        volumes, journal = copy.volumes, copy.journal
        durable, tip = journal.durable_seq, journal.tip.seq
        if volumes.reached > durable:
            raise ViolationError(
                "INV-05", f"{name} applies up to record {volumes.reached}, durable is only {durable}"
            )
        commit = copy.commit
        if member.term is not None:
            log = member.term.engine.log
            commit = max(commit, log.commit)
            if log.appended > tip or log.durable > durable:
                raise ViolationError(
                    "INV-05",
                    f"{name} counts {log.appended} records, {log.durable} durable; "
                    f"there are {tip} and {durable}",
                )
        if volumes.reached > commit:
            raise ViolationError(
                "INV-05", f"{name} applies up to record {volumes.reached}, committed are only {commit}"
            )
        if commit > tip:
            raise ViolationError("INV-05", f"{name} commits record {commit} and holds only {tip}")

    def look_at_set(self, charter: Charter) -> None:
        """INV-06: whoever is in sync holds everything that somebody relies on. Raises ViolationError.

        In a store generation that a person began, the set counts for nothing until somebody opens in it.
        """
        if charter.generation > generation(charter.epoch):
            return
        top = self._world.ledger.top_promised(charter.history)
        for name in NAMES:
            if name not in charter.in_sync or not self._holdings.is_sound(name):
                continue
            tip = self._holdings.tip(name)
            if tip < top:
                raise ViolationError(
                    "INV-06", f"somebody relies on record {top}, but {name}, which is in sync, has only {tip}"
                )

    def look_at_losses(self) -> None:
        """INV-01: a volatile loss is admitted where nobody in sync kept its tail. Raises ViolationError."""
        for old, new in self._charters.volatile:
            fork = new.history[-1].fork_seq
            lost = [write.seq for write in self._world.ledger.promised_after(old.history, fork)]
            for name in sorted(old.in_sync - {new.owner} - self._world.harmed):
                copy = self._holdings.of(name).copy
                if copy is None or not self._holdings.is_sound(name) or copy.durable.follow != old.epoch:
                    continue
                if any(seq <= self._holdings.tip(name) for seq in lost):
                    words = f"epoch {new.epoch:x} admits the loss of what came after record {fork}"
                    raise ViolationError("INV-01", f"{words}, and {name}, which was in sync, has some of it")
        self._charters.volatile.clear()

    def look_at_owner(self, charter: Charter, owner: Member) -> None:
        """INV-05: what an owner committed is in the log of all it must wait for. Raises ViolationError."""
        term = owner.term
        assert term is not None
        if charter.epoch != term.charter.epoch:
            return
        commit = term.engine.log.commit
        for name in NAMES:
            copy = self._holdings.of(name).copy
            if name not in charter.in_sync or copy is None or not self._holdings.is_sound(name):
                continue
            if copy.durable.follow == charter.epoch and copy.journal.tip.seq < commit:
                raise ViolationError(
                    "INV-05",
                    f"record {commit} is committed by {term.copy.me.center}, but {name}, which is in sync, "
                    f"has only {copy.journal.tip.seq}",
                )

    def look_at_leases(self, owners: list[tuple[str, Member]]) -> None:
        """INV-14: while a lease is held nobody else answers (F.A 3: an isolated owner after force may)."""
        if len(owners) < 2:  # noqa: PLR2004  # alone
            return
        answering = []
        for name, member in owners:
            term = member.term
            assert term is not None
            host = self._world.hosts[name]
            is_excused = self._world.timeline.now <= self._world.ledger.excused(name)
            if not term.engine.is_released and host.boottime() < term.engine.lease_until and not is_excused:
                answering.append((name, term.charter.epoch))
        for one, epoch in answering:
            for other, another in answering:
                if one < other and era_of(epoch) == era_of(another):
                    raise ViolationError("INV-14", f"{one} and {other} both hold a lease")

    def at_answer(self, export: Export, seq: int, is_durable: bool) -> None:  # noqa: FBT001  # see AtAnswer
        """INV-05: an answer is given when the whole ack set holds what it covers, durably if that was asked.

        Looked at in the journals themselves, at the moment of the answer. Called inside the owner's process:
        what is wrong is noted, not raised.
        """
        charter, now = self._charters.last_of(export.epoch), self._charters.now
        if charter is None:
            return
        if now is not None and any(
            start.loss is Loss.FORCED and start.epoch > export.epoch for start in now.history
        ):
            return  # whom a forced opening left alone goes on for its lease (F.A 3); the loss is stated
        must_be_durable = is_durable or self._world.application.is_fsync
        for name in NAMES:
            if name not in charter.in_sync or name in self._world.harmed:
                continue
            held = self._holdings.durable(name) if must_be_durable else self._holdings.ever(name)
            if held < seq:
                what = "durable at" if must_be_durable else "at"
                self._world.ledger.note(
                    "INV-05",
                    f"{export.center} answers for record {seq} of epoch {export.epoch:x}, "
                    f"but {what} {name}, which is in sync, is only {held}",
                )
