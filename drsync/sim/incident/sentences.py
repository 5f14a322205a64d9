"""What was seen and decided, fact by fact in words: labels and sentences of one language."""

from collections.abc import Iterator, Mapping

from drsync.config.quantities import format_duration
from drsync.core import eligibility
from drsync.core.loss import loss
from drsync.core.observation import Observation
from drsync.core.plan import Act, Command, CommitCharter, Done, OpenGroup, Plan, Prepare, Refuse, Seal, Wait
from drsync.core.procedure import Way
from drsync.model import epoch as epochs
from drsync.model.copy import Statement
from drsync.model.position import Loss
from drsync.sim.incident.record import Kept, Silent
from drsync.sim.incident.replay import Candidate, candidates, commits
from drsync.sim.incident.what_if import Alternative

Words = Mapping[str, str]
Row = tuple[str, str]


class Sentences:
    """Sentences in one language."""

    def __init__(self, say: Words) -> None:
        self._say = say

    # --- what was seen

    def full(self, kept: Kept) -> Iterator[Row]:
        """All that the decision was made on: label and text."""
        say, seen = self._say, kept.seen
        for name, word in sorted(seen.statements.items()):
            yield say["heard"], f"{name}: {self._word(seen, word)}"
        for name in seen.members:
            if name not in seen.statements:
                yield say["silent"], f"{name}: {self._silent(seen, name, kept.silent.get(name))}"
        yield say["lease"], self._lease(seen)
        if kept.detection:
            yield say["health"], self._health(kept.detection)
        for candidate in candidates(seen):
            yield say["candidates"], self._candidate(candidate)
        yield from self._price(seen)
        yield from self._rule(kept)

    def news(self, kept: Kept, before: Kept | None) -> Iterator[Row]:
        """What is different from the decision before."""
        say, seen = self._say, kept.seen
        if isinstance(kept.plan, Done):
            return
        old = before.seen if before is not None else None
        for name in seen.members:
            word = seen.statements.get(name)
            was = old.statements.get(name) if old is not None else None
            if word is None:
                if was is not None:
                    yield say["silent"], f"{name}: {self._silent(seen, name, kept.silent.get(name))}"
            elif was is None or self._word(seen, word) != self._word(seen, was):
                yield say["heard"], f"{name}: {self._word(seen, word)}"
        if commits(kept.plan):
            yield say["lease"], self._lease(seen)
            yield from self._price(seen)
        yield from self._rule(kept)

    def _word(self, seen: Observation, word: Statement) -> str:
        say, charter = self._say, seen.charter
        sync = say["in_sync"] if word.center in charter.in_sync else say["not_in_sync"]
        seq = eligibility.belongs(charter, word)
        parts = [say["stands"].format(state=word.state.value, seq=seq, in_sync=sync)]
        if word.promised > charter.epoch:
            parts.append(say["promised"].format(epoch=epochs.show(word.promised)))
        parts += [say["unclean"]] if word.unclean else []
        parts += [say["amnesic"]] if word.amnesic else []
        parts += [word.no_space] if word.no_space else []
        return ", ".join(parts)

    def _silent(self, seen: Observation, name: str, said: Silent | None) -> str:
        say = self._say
        if said is None or said.statement is None or said.heard_s is None:
            parts = [say["never_heard"]]
        else:
            word, age = said.statement, format_duration(said.heard_s)
            parts = [say["last_heard"].format(age=age, state=word.state.value, seq=word.appended)]
        if said is not None:
            parts.append(say["connected"] if said.is_connected else say["not_connected"])
        last = seen.last_known
        if name == seen.charter.owner and last is not None:
            age = format_duration(seen.now - last.heard_at)
            parts.append(say["owner_report"].format(record=last.commit, age=age))
        return "; ".join(parts)

    def _lease(self, seen: Observation) -> str:
        say, lease = self._say, seen.lease
        if not lease.holder:
            return say["lease_none"]
        if lease.holder == seen.target:
            return say["lease_own"].format(holder=lease.holder)
        if lease.until > seen.now:
            left = format_duration(lease.until - seen.now)
            return say["lease_held"].format(holder=lease.holder, left=left)
        return say["lease_over"].format(holder=lease.holder, ago=format_duration(seen.now - lease.until))

    def _health(self, found: Mapping[str, object]) -> str:
        """What the watch over the owner held of it."""
        state, reason = str(found.get("state", "")), str(found.get("reason", ""))
        text = self._say["held_of_owner"].format(reason=reason, state=state)
        hindrance = str(found.get("hindrance", ""))
        return f"{text}; {hindrance}" if hindrance else text

    def _candidate(self, one: Candidate) -> str:
        say, verdict = self._say, one.verdict
        if [reason.code for reason in verdict.reasons] == ["not_reached"]:
            return say["cannot_silent"].format(center=one.center)
        if verdict.reasons:
            key = "cannot_free" if one.needs_word else "cannot"
            why = " ".join(reason.sentence for reason in verdict.reasons)
            return say[key].format(center=one.center, why=why)
        if one.is_new:
            return say["can_new"].format(center=one.center)
        if verdict.loss is Loss.VOLATILE:
            return say["can_volatile"].format(center=one.center)
        if verdict.donors:
            return say["can_donated"].format(center=one.center, donors=", ".join(verdict.donors))
        if one.center in one.mates:
            return say["can_own"].format(center=one.center)
        return say["can_by"].format(center=one.center, mate=", ".join(one.mates))

    def _price(self, seen: Observation) -> Iterator[Row]:
        """What an opening at the target would give up."""
        say, stated = self._say, loss(seen)
        text = say[f"price_{stated.loss.value}"]
        yield say["price"], text.format(position=stated.position, records=stated.records_at_least)
        for lost in stated.files:
            known = "" if lost.seconds is None else format_duration(lost.seconds)
            seconds = say["price_files_s"].format(seconds=known) if known else ""
            facts = {"fileset": lost.fileset, "held": lost.held, "known": lost.known, "seconds": seconds}
            yield say["price"], say["price_files"].format(**facts)

    def _rule(self, kept: Kept) -> Iterator[Row]:
        """Why just this answer, where it is not said by the answer itself."""
        say, seen, plan = self._say, kept.seen, kept.plan
        if isinstance(plan, Refuse):
            for reason in plan.reasons:
                yield say["rule"], f"{reason.code}: {reason.text()}"
        commit = commits(plan)
        if commit is not None:
            held = seen.lease.holder not in ("", commit.charter.owner)
            lease = (
                say["why_commit_over"].format(holder=seen.lease.holder) if held else say["why_commit_none"]
            )
            epoch = epochs.show(commit.charter.epoch)
            why = say["why_commit"].format(epoch=epoch, target=seen.target, lease=lease)
            yield say["rule"], why

    # --- what was answered

    def is_decisive(self, kept: Kept) -> bool:
        """Whether it is the one that people mean when they ask why."""
        return isinstance(kept.plan, Refuse) or commits(kept.plan) is not None

    def plan(self, way: Way, seen: Observation, plan: Plan, *, in_full: bool = False) -> str:
        """An answer in a sentence or some; `in_full`: with the reasons of a refusal."""
        say = self._say
        start = say["back"] if way is Way.BACK else ""
        match plan:
            case Act():
                return start + self._act(seen, plan)
            case Wait():
                left = plan.until - seen.now if plan.until is not None else 0.0
                until = say["until"].format(left=format_duration(left)) if left > 0 else ""
                return start + say["step_wait"].format(reason=plan.reason, until=until)
            case Refuse() if in_full:
                reasons = " ".join(f"{reason.code}: {reason.sentence}" for reason in plan.reasons)
                return f"{start}{say['step_refuse']} {reasons}"
            case Refuse():
                return start + say["step_refuse"]
            case Done():
                return start + say["step_done"].format(outcome=plan.outcome)

    def _act(self, seen: Observation, plan: Act) -> str:
        seals = [command for command in plan.commands if isinstance(command, Seal)]
        parts = []
        if seals:
            names = ", ".join(seal.center for seal in seals)
            parts.append(self._say["step_Seal"].format(epoch=epochs.show(seals[0].epoch), centers=names))
        parts += [self._command(seen, one) for one in plan.commands if not isinstance(one, Seal)]
        return " ".join(parts)

    def _command(self, seen: Observation, command: Command) -> str:
        say, name = self._say, type(command).__name__
        key = f"step_{name}"
        facts = {"center": seen.target, "actor": seen.actor, "donors": ""}
        if name == "RecordIntent" and seen.accept_loss:
            key += "_forced"
        if isinstance(command, Prepare) and command.donors:
            facts["donors"] = say["step_Prepare_donors"].format(donors=", ".join(command.donors))
        if isinstance(command, CommitCharter | OpenGroup):
            facts |= {"owner": command.charter.owner, "epoch": epochs.show(command.charter.epoch)}
        facts["center"] = str(getattr(command, "center", seen.target))
        return say[key].format(**facts)

    # --- what could have been

    def alternative(self, one: Alternative) -> tuple[str, str, str]:
        """What was different, what would have come out, and what would have been lost."""
        say, change, ending = self._say, one.change, one.ending
        key = f"if_{change.what}"
        if change.what == "answered" and change.age_s is None:
            key += "_never"
        age = format_duration(change.age_s) if change.age_s is not None else ""
        what = say[key].format(center=change.center, age=age)
        if ending is None:
            return what, say["then_unknown"], say["lost_unchanged"]
        charter = ending.charter
        waited = say["then_waited"].format(waited=format_duration(ending.waited_s)) if ending.waited_s else ""
        if charter is None:
            return what, self._no_opening(ending.plan) + waited, say["lost_unchanged"]
        start = charter.history[-1]
        opens = say["then_opens"].format(
            owner=charter.owner, epoch=epochs.show(charter.epoch), seq=start.fork_seq
        )
        return what, opens + waited, say[f"lost_{start.loss.value}"].format(records=start.lost_at_least)

    def _no_opening(self, plan: Plan) -> str:
        say = self._say
        if isinstance(plan, Refuse):
            return say["then_refused"].format(codes=", ".join(reason.code for reason in plan.reasons))
        return say["then_waits"].format(reason=plan.reason) if isinstance(plan, Wait) else say["then_done"]
