"""What a store and a member must show before they are believed to be as young as they were."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.store_trust import (
    Heard,
    Remembered,
    TokenWord,
    check_token,
    ready,
    regressed,
    remember,
)
from drsync.model.copy import Statement
from drsync.model.epoch import Epoch
from tests.core.logs import word, written

MEMBERS = ("a", "b", "c")
OLD, OWN, NEW = (Heard(0, version, Epoch(4)) for version in (6, 7, 8))
EVERYBODY = dict.fromkeys(MEMBERS, OWN)


@pytest.mark.parametrize(
    ("token_db", "token_run", "heard", "waits_for"),
    [
        ("t", "t", {}, ""),
        ("t", "t", {"a": OLD}, ""),
        ("t", "u", {}, "hear from a, b, c"),
        ("", "", {}, "hear from a, b, c"),
        ("t", "", {"b": OWN}, "hear from a, c"),
        ("t", "u", EVERYBODY, ""),
        ("t", "t", {"b": NEW}, "b has seen a newer charter"),
        ("t", "u", {**EVERYBODY, "c": NEW, "a": NEW}, "a, c has seen a newer charter"),
        ("t", "t", {"b": Heard(1, 1, Epoch(1))}, "b has seen a newer charter"),
        ("t", "t", {"b": Heard(0, 7, Epoch(5))}, "b has seen a newer charter"),
    ],
)
def test_a_store_acts_when_it_is_proven_to_know_the_newest_charter(
    token_db: str, token_run: str, heard: dict[str, Heard], waits_for: str
) -> None:
    said = ready(token_db, token_run, heard, MEMBERS, OWN)
    assert waits_for in said
    assert bool(said) == bool(waits_for)


def test_a_store_that_knows_no_charter_yet_is_compared_with_nothing() -> None:
    assert ready("t", "t", {"a": NEW}, MEMBERS) == ""


SAID = replace(word(written((4, 5)), promised=4, follow=4, durable=3), session="s")
KNOWN = Remembered(Epoch(4), Epoch(4), 3, "s", 5)


@pytest.mark.parametrize(
    ("said", "is_younger"),
    [
        (SAID, False),
        (replace(SAID, promised=Epoch(3)), True),
        (replace(SAID, follow=Epoch(3)), True),
        (replace(SAID, follow=Epoch(5), durable=0, appended=0), False),
        (replace(SAID, durable=2), True),
        (replace(SAID, appended=4), True),
        (replace(SAID, appended=4, session="t"), False),
        (replace(SAID, durable=2, session="t"), True),
        (replace(SAID, promised=Epoch(9), durable=9, appended=9), False),
    ],
)
def test_durable_facts_never_go_back(said: Statement, is_younger: bool) -> None:
    assert regressed(said, KNOWN) is is_younger
    kept = remember(said, KNOWN)
    assert (kept == KNOWN) is (is_younger or said == SAID)
    assert regressed(SAID, kept) is (not is_younger and said != SAID and _is_above(said))


def _is_above(said: Statement) -> bool:
    """Whether the first statement would be a step back after `said`."""
    return said.promised > 4 or said.follow > 4 or said.durable > 3


words = st.builds(
    lambda promised, follow, durable, appended, session: replace(
        SAID,
        promised=Epoch(promised),
        follow=Epoch(follow),
        durable=durable,
        appended=max(durable, appended),
        session=session,
    ),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["s", "t"]),
)


@given(st.lists(words, max_size=5))
def test_what_is_remembered_never_gets_younger(story: list[Statement]) -> None:
    known = Remembered()
    for said in story:
        is_younger = regressed(said, known)
        before, known = known, remember(said, known)
        assert (known == before) or not is_younger
        assert not regressed(said, known) or is_younger
        assert (known.promised, known.follow) >= (before.promised, before.follow)


def test_the_first_word_of_a_member_is_believed() -> None:
    assert not regressed(SAID, Remembered())


@pytest.mark.parametrize(
    ("stated", "known", "means"),
    [
        (5, 5, TokenWord.NEXT),
        (4, 5, TokenWord.REPEAT),
        (3, 5, TokenWord.MEMBER_WENT_BACK),
        (6, 5, TokenWord.STORE_WENT_BACK),
        (0, 0, TokenWord.NEXT),
    ],
)
def test_tokens_tell_which_of_the_two_went_back(stated: int, known: int, means: TokenWord) -> None:
    assert check_token(stated, known) is means
