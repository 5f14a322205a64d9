"""Every no is a sentence with its numbers, says what to do, and names an override only where one exists."""

import inspect

import pytest

from drsync.core import safety
from drsync.core.safety import ACCEPT_LOSS, Reason
from drsync.model.epoch import Epoch, make

REASONS = [
    (safety.unknown_center("x", ("a", "b")), ("x",), ("a, b",), ""),
    (safety.not_reached("b", "the target"), ("b", "the target"), ("Start b",), ""),
    (safety.copy_failed("b", "failed"), ("b", "failed"), ("resync b",), ""),
    (safety.went_back("b"), ("b", "back in time"), ("catch up",), ACCEPT_LOSS),
    (safety.needs_resync("b", 107, 93), ("b", "107", "93"), ("b resync",), ""),
    (safety.moved_on("b", make(0, 1, 4), Epoch(7)), ("b", "1.4", "7"), ("store",), ""),
    (safety.outranked("b", make(2, 0, 1), 1), ("b", "2.0.1", "generation 1"), ("new store generation",), ""),
    (safety.store_usable(), ("may act",), ("without --without-store",), ""),
    (safety.nobody_remembers(), ("remembers",), ("Start the agent", "newest copy"), ""),
    (safety.still_bound("b", "a", 7.25), ("b", "a", "7.2 s", "may be serving"), ("stop it",), ""),
    (
        safety.new_generation(3, ("a", "b")),
        ("generation 3", "a, b"),
        ("newest copy of the store",),
        ACCEPT_LOSS,
    ),
    (safety.not_in_sync("c", ("a", "b"), "it is 214 behind"), ("c", "a, b", "214"), ("a, b",), ACCEPT_LOSS),
    (safety.unclean_and_silent("b", ("a",)), ("b", "a cannot be asked"), ("Bring back a",), ACCEPT_LOSS),
    (safety.no_space("b", "no space in /b"), ("b", "no space in /b"), ("Free space", "another center"), ""),
    (safety.left_behind("c", "b", 214), ("b", "214", "c"), ("Name b",), ACCEPT_LOSS),
    (safety.files_behind("c", "www", 41.25, 15), ("c", "www", "41.2 s", "15 s"), ("caught up",), ACCEPT_LOSS),
    (safety.files_held("c", "www", "no space."), ("c", "www", "no space."), ("drsync why",), ""),
    (safety.files_late("c", "www", 41.25, 15), ("c", "www", "41.2 s", "15 s"), ("caught up",), ""),
    (safety.files_unknown("c", "www"), ("c", "www", "not known"), ("Bring back",), ACCEPT_LOSS),
    (
        safety.intent_in_progress("switchover", "b", "ada"),
        ("switchover", "b", "ada"),
        ("Wait",),
        "",
    ),
    (safety.owner_not_serving("a", "sealed"), ("a", "sealed"), ("failover",), ""),
    (safety.owner_not_serving("", "not reached"), ("(none)", "not reached"), ("failover",), ""),
    (safety.too_far_behind("c", 250_000, 100_000), ("c", "250000", "100000"), ("caught up",), ""),
    (safety.not_following("b", "a"), ("b", "a"), ("b is connected to a",), ""),
    (safety.aborted("b", "a", Epoch(8)), ("b", "a", "8"), ("again",), ""),
    (safety.aborted("b", "", Epoch(8)), ("b", "nobody", "8"), ("again",), ""),
]


@pytest.mark.parametrize(("reason", "facts", "remedy", "override"), REASONS, ids=[r[0].code for r in REASONS])
def test_a_reason_says_what_is_the_case_and_what_to_do(
    reason: Reason, facts: tuple[str, ...], remedy: tuple[str, ...], override: str
) -> None:
    for fact in facts:
        assert fact in reason.sentence
    for hint in remedy:
        assert hint in reason.remedy
    assert reason.override == override
    assert reason.sentence.endswith(".")
    assert reason.remedy.endswith(".")
    assert reason.text() == f"{reason.sentence} {reason.remedy}"


@pytest.mark.parametrize(("reason", "override"), [(row[0], row[3]) for row in REASONS])
def test_who_may_override_reads_it_in_the_remedy_or_the_option(reason: Reason, override: str) -> None:
    """A way around that is not there must not be hinted at."""
    assert ("accept the loss" not in reason.remedy) or override == ACCEPT_LOSS


def test_no_reason_is_left_out_of_this_table() -> None:
    made = [
        function
        for _, function in inspect.getmembers(safety, inspect.isfunction)
        if inspect.signature(function).return_annotation is Reason
    ]
    codes = {row[0].code for row in REASONS}
    assert len(made) == len(codes)


def test_each_kind_of_no_has_a_code_of_its_own() -> None:
    by_maker: dict[str, set[str]] = {}
    for row in REASONS:
        by_maker.setdefault(row[0].code, set()).add(row[0].remedy)
    assert all(code.replace("_", "").isalpha() and code.islower() for code in by_maker)
