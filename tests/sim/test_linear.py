"""A register that must look like one: right histories fit, wrong ones do not, unknown outcomes count."""

import random
from math import inf

import pytest

from drsync.sim import linear
from drsync.sim.linear import Call, Result, TooLargeError, contradiction


def done(expected: int, value: str, asked: float, answered: float) -> Call:
    return Call("a", asked, Result.DONE, answered, expected, expected + 1, value)


def unknown(expected: int, value: str, asked: float) -> Call:
    return Call("b", asked, Result.UNKNOWN, inf, expected, expected + 1, value)


def read(version: int, value: str | None, asked: float, answered: float) -> Call:
    return Call("c", asked, Result.READ, answered, version=version, value=value)


def lost(expected: int, seen: tuple[int, str] | None, asked: float, answered: float) -> Call:
    return Call("d", asked, Result.LOST, answered, expected, expected + 1, "lost", seen)


def test_changes_one_after_the_other_fit() -> None:
    calls = [
        read(0, None, 0, 1),
        done(0, "x", 2, 3),
        read(1, "x", 4, 5),
        done(1, "y", 6, 7),
        read(2, "y", 8, 9),
    ]
    assert contradiction(calls) is None


def test_who_reads_while_it_changes_may_see_either() -> None:
    assert contradiction([done(0, "x", 0, 10), read(0, None, 1, 2)]) is None
    assert contradiction([done(0, "x", 0, 10), read(1, "x", 1, 2)]) is None


def test_a_read_of_what_was_replaced_before_it_began_is_wrong() -> None:
    stale = read(0, None, 4, 5)
    assert contradiction([done(0, "x", 2, 3), stale]) is stale


def test_two_who_read_while_it_changes_agree_on_the_order() -> None:
    calls = [done(0, "x", 0, 10), read(1, "x", 1, 2), read(0, None, 3, 4)]
    assert contradiction(calls) is not None


def test_two_changes_of_the_same_version_cannot_both_be_done() -> None:
    assert contradiction([done(0, "x", 0, 5), done(0, "y", 0, 5)]) is not None


def test_a_change_whose_outcome_is_unknown_may_have_happened_late_or_never() -> None:
    calls = [unknown(0, "x", 0), read(0, None, 5, 6)]
    assert contradiction(calls) is None
    assert contradiction([*calls, read(1, "x", 7, 8), read(1, "x", 9, 10)]) is None


def test_a_change_whose_outcome_is_unknown_does_not_happen_before_it_was_asked_for() -> None:
    assert contradiction([read(1, "x", 0, 1), unknown(0, "x", 2)]) is not None


def test_what_nobody_wrote_is_not_read() -> None:
    assert contradiction([done(0, "x", 0, 1), read(1, "y", 2, 3)]) is not None


def test_a_refusal_shows_what_was_in_force() -> None:
    assert contradiction([done(0, "x", 0, 1), lost(0, (1, "x"), 2, 3)]) is None
    assert contradiction([done(0, "x", 0, 1), lost(0, (2, "y"), 2, 3)]) is not None
    assert contradiction([done(0, "x", 0, 1), lost(1, None, 2, 3)]) is None  # a lease forbade it


def test_a_store_that_was_put_back_is_seen_unless_that_is_told() -> None:
    before = [done(0, "x", 0, 1), done(1, "y", 2, 3)]
    after = [read(1, "x", 4, 5), done(1, "z", 6, 7)]
    assert contradiction(before + after) is not None
    assert contradiction(after, (1, "x")) is None


def history(dice: random.Random) -> list[Call]:
    """A register as it should be, used by five at once; some never hear what became of their change."""
    calls: list[Call] = []
    version, value, now = 0, None, 0.0
    for number in range(60):
        now += 1
        asked, answered = now - dice.uniform(0, 4), now + dice.uniform(0, 4)
        match dice.randrange(4):
            case 0:
                calls.append(read(version, value, asked, answered))
            case 1:
                calls.append(lost(version - 1, (version, str(value)) if value else None, asked, answered))
            case 2:
                calls.append(unknown(version, f"never {number}", asked))
            case _:
                call = done(version, f"v{number}", asked, answered)
                if dice.random() < 0.3:
                    call.result, call.answered = Result.UNKNOWN, inf
                calls.append(call)
                version, value = version + 1, f"v{number}"
    return calls


@pytest.mark.parametrize("seed", range(20))
def test_histories_of_a_true_register_fit_and_doctored_ones_do_not(seed: int) -> None:
    dice = random.Random(seed)
    calls = history(dice)
    assert contradiction(calls) is None
    reads = [call for call in calls if call.result is Result.READ]
    dice.choice(reads).value = "nobody wrote this"
    assert contradiction(calls) is not None


def test_what_is_too_large_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "STEPS_MAX", 10)
    with pytest.raises(TooLargeError):
        contradiction(history(random.Random(1)))


def test_a_call_tells_what_it_was() -> None:
    assert str(unknown(3, "x", 1.5)) == "b set version 4: unknown (1.500 to never)"
    assert str(read(3, "x", 1.5, 2)) == "c read version 3: read (1.500 to 2.000)"
