"""A check that cannot fail is no check: each is shown what it must find."""

from dataclasses import replace

import pytest

from tests.chaos import history
from tests.chaos.history import Attempt, Entry, History, Log, Sample

ENTRIES = (Entry(1, 2, 0, 11), Entry(1, 3, 1, 12), Entry(2, 5, 0, 13), Entry(2, 6, 2, 14))
CHAINS = {1: b"a", 2: b"b", 3: b"c", 4: b"d", 5: b"e", 6: b"f"}
ATTEMPTS = (
    Attempt(11, 0, "production", 1.0, 1.1),
    Attempt(12, 1, "production", 1.05, 1.2),
    Attempt(10, 3, "production", 1.3, None),
    Attempt(13, 0, "same_city", 2.0, 2.1),
    Attempt(14, 2, "same_city", 2.2, 2.3),
)
GOOD = History(
    ATTEMPTS,
    {1: "production", 2: "same_city"},
    "same_city",
    {name: Log(ENTRIES, CHAINS) for name in ("production", "same_city", "remote")},
    {0: 13, 1: 12, 2: 14, 3: 0},
)


def with_log(center: str, entries: tuple[Entry, ...], chains: dict[int, bytes] | None = None) -> History:
    return replace(GOOD, logs={**GOOD.logs, center: Log(entries, CHAINS if chains is None else chains)})


def test_a_good_history_has_no_findings() -> None:
    assert history.check(GOOD) == []


def test_a_write_without_an_answer_may_be_there_or_not() -> None:
    entries = (*ENTRIES[:2], Entry(1, 4, 3, 10), *ENTRIES[2:])
    logs = {name: Log(entries, CHAINS) for name in GOOD.logs}
    assert history.check(replace(GOOD, logs=logs, content={**GOOD.content, 3: 10})) == []


def test_a_replica_may_be_shorter() -> None:
    chains = {seq: chain for seq, chain in CHAINS.items() if seq <= 3}
    assert history.check(with_log("remote", ENTRIES[:2], chains)) == []


def test_an_owner_may_have_given_up_what_everybody_has() -> None:
    chains = {seq: chain for seq, chain in CHAINS.items() if seq >= 3}
    logs = {**GOOD.logs, "same_city": Log(ENTRIES[1:], chains, 3)}
    assert history.check(replace(GOOD, logs=logs)) == []
    logs["remote"] = logs["production"] = logs["same_city"]
    assert history.check(replace(GOOD, logs=logs)), "a write that nobody holds is lost"


PLANTED = {
    "a lost write": (history.lost, with_log("same_city", ENTRIES[1:])),
    "a write acknowledged by who did not own the epoch": (
        history.second_writers,
        replace(GOOD, attempts=(*ATTEMPTS[:4], Attempt(14, 2, "production", 2.2, 2.3))),
    ),
    "an epoch that nobody owned": (history.second_writers, replace(GOOD, owners={1: "production"})),
    "a later write before an earlier one": (
        history.out_of_order,
        with_log(
            "same_city", (Entry(1, 2, 0, 11), Entry(1, 3, 1, 12), Entry(2, 5, 2, 14), Entry(2, 6, 0, 13))
        ),
    ),
    "an old owner that writes after the new one has": (
        history.out_of_order,
        replace(GOOD, attempts=(Attempt(11, 0, "production", 3.0, 3.1), *ATTEMPTS[1:])),
    ),
    "a write that was replayed": (history.repeated, with_log("remote", (*ENTRIES, Entry(2, 7, 0, 11)))),
    "a write that nobody sent": (history.repeated, with_log("remote", (*ENTRIES, Entry(2, 7, 0, 99)))),
    "a write in another place": (
        history.repeated,
        with_log("remote", (*ENTRIES[:3], Entry(2, 6, 3, 14))),
    ),
    "an epoch that goes back": (
        history.repeated,
        with_log("remote", (*ENTRIES[:3], Entry(1, 6, 2, 14))),
    ),
    "another chain": (history.diverged, with_log("remote", ENTRIES, {**CHAINS, 5: b"x"})),
    "a batch more between the same chains": (
        history.diverged,
        with_log("remote", ENTRIES, {seq: chain for seq, chain in CHAINS.items() if seq != 4}),
    ),
    "another write at the same record": (
        history.diverged,
        with_log("production", (*ENTRIES[:3], Entry(2, 6, 2, 10))),
    ),
    "an old block": (history.wrong_content, replace(GOOD, content={**GOOD.content, 0: 11})),
    "a block that must be zeros": (history.wrong_content, replace(GOOD, content={**GOOD.content, 3: 10})),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_wrong_is_found(name: str) -> None:
    check, planted = PLANTED[name]
    assert check(planted), name
    assert history.check(planted), name


def test_many_findings_are_cut_short() -> None:
    attempts = tuple(Attempt(number, 0, "production", 1.0, 2.0) for number in range(100, 200))
    found = history.check(replace(GOOD, attempts=(*ATTEMPTS, *attempts)))
    assert (len(found), found[-1]) == (history.SHOWN + 1, "and 95 more of these")


SAMPLES = [
    Sample(1.0, True, ()),
    Sample(2.0, False, ("remote is not connected",)),
    Sample(3.0, False, ("something else",)),
]


def test_a_status_that_names_the_trouble_is_enough() -> None:
    assert history.silent(SAMPLES, 1.0, 3.0, ["remote"], 2.0) == []


@pytest.mark.parametrize(
    ("began", "words", "within_s"),
    [(1.0, ["same_city"], 2.0), (1.0, ["remote"], 0.5), (2.5, ["remote"], 2.0)],
)
def test_a_status_that_says_nothing_late_or_something_else_is_found(
    began: float, words: list[str], within_s: float
) -> None:
    assert history.silent(SAMPLES, began, 3.0, words, within_s)


def test_a_status_that_says_all_is_well_is_found() -> None:
    assert "all is well" in history.silent([Sample(1.0, True, ("remote",))], 0.0, 2.0, ["remote"], 2.0)[0]


def test_a_process_that_ended_is_found() -> None:
    assert history.dead({"a", "b"}, {"a"}) == ["b ended by itself"]
    assert history.dead({"a"}, {"a", "b"}) == []
