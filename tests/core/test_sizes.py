"""Every prefix of a log has one size for each volume, and nobody may shrink one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core import resize
from drsync.core.resize import Asked, Why, Word
from drsync.core.sizes import (
    ALIGNMENT,
    RESIZES_MAX,
    VOLUME_BYTES_MAX,
    Resize,
    Sizes,
    at_least,
    first_sizes,
    sized,
)
from drsync.model.charter import Charter
from drsync.model.epoch import Epoch
from drsync.model.group import VolumeSpec
from tests.engine.fake_members import A, B, C, spec

FIRST = {1: 4 * ALIGNMENT, 2: 8 * ALIGNMENT}
STEPS = st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(1, 9), st.integers(1, 5)), max_size=12)


def log_of(steps: list[tuple[int, int, int]]) -> tuple[Sizes, list[dict[int, int]]]:
    """A log that grows by steps of (volume, records before, blocks), and the sizes at each of its records."""
    sizes, now, seq = Sizes(FIRST), dict(FIRST), 0
    told = [dict(now)]
    for volume, gap, blocks in steps:
        told += [dict(now)] * (gap - 1)
        seq += gap
        now[volume] += blocks * ALIGNMENT
        told.append(dict(now))
        assert sizes.objection(volume, now[volume]) == ""
        sizes = sizes.grown(Resize(volume, seq, now[volume]))
    return sizes, told


@given(STEPS)
def test_every_prefix_has_one_size(steps: list[tuple[int, int, int]]) -> None:
    sizes, told = log_of(steps)
    for seq, known in enumerate(told):
        assert sizes.all_at(seq) == known == {volume: sizes.at(volume, seq) for volume in FIRST}
        assert sizes.cut(seq).newest == known, "a copy that was cut there says the same"
        assert sizes.through(seq) == sizes.cut(seq).resizes
    assert sizes.newest == told[-1]


@given(STEPS, st.randoms())
def test_who_hears_of_them_again_or_in_another_order_says_the_same(
    steps: list[tuple[int, int, int]], dice: object
) -> None:
    sizes, _ = log_of(steps)
    heard = [*sizes.resizes, *sizes.resizes]
    dice.shuffle(heard)  # type: ignore[attr-defined]
    again = Sizes(FIRST, sizes.through(len(steps)))  # as a superblock keeps the first of them
    for one in heard:
        again = again.grown(one)
    assert again == sizes


def test_an_owner_owes_what_the_charter_says_beyond_its_log_and_never_less() -> None:
    volumes = [VolumeSpec("a", "data", 9 * ALIGNMENT, 1, FIRST[1]), VolumeSpec("b", "logs", FIRST[2], 2)]
    sizes = Sizes(FIRST)
    assert sizes.owed(volumes) == [Resize(1, 0, 9 * ALIGNMENT)]
    sizes = sizes.grown(Resize(1, 5, 9 * ALIGNMENT))
    assert sizes.owed(volumes) == []
    assert sizes.grown(Resize(1, 7, 10 * ALIGNMENT)).owed(volumes) == [], "the log went further: it wins"


@pytest.mark.parametrize(
    ("volume", "size", "said"),
    [
        (3, 4 * ALIGNMENT, "no volume"),
        (1, 6 * ALIGNMENT, "not more"),
        (1, 5 * ALIGNMENT, "not more"),
        (1, 6 * ALIGNMENT + 1, "no size"),
        (1, 0, "no size"),
        (1, VOLUME_BYTES_MAX + ALIGNMENT, "no size"),
        (1, 7 * ALIGNMENT, ""),
    ],
)
def test_what_is_no_resize(volume: int, size: int, said: str) -> None:
    found = Sizes(FIRST).grown(Resize(1, 4, 6 * ALIGNMENT)).objection(volume, size)
    assert said in found
    assert bool(said) == bool(found)


def test_what_a_charter_has_lost_the_log_tells() -> None:
    """An older coordinator does not keep the first size: a new copy then begins with the last one."""
    sizes = Sizes({1: 9 * ALIGNMENT})
    for seq, size in ((4, 6 * ALIGNMENT), (8, 9 * ALIGNMENT)):
        assert sizes.objection(1, size) == ""
        sizes = sizes.grown(Resize(1, seq, size))
    assert [sizes.at(1, seq) for seq in (4, 7, 8)] == [6 * ALIGNMENT, 6 * ALIGNMENT, 9 * ALIGNMENT]
    assert sizes.at(1, 3) <= 6 * ALIGNMENT


def test_a_group_is_shown_with_the_sizes_of_a_log() -> None:
    group = spec()
    (volume,) = group.volumes
    assert first_sizes(group) == {1: volume.size}
    grown = replace(group, volumes=(replace(volume, size=2 * volume.size, first_size=volume.size),))
    assert first_sizes(grown) == {1: volume.size}
    assert sized(grown, {1: volume.size}).volumes[0].size == volume.size
    assert at_least(grown, {1: volume.size}) == grown
    for known in (group, grown):
        assert first_sizes(sized(known, {1: 3 * volume.size})) == {1: volume.size}, "also by an old charter"


# --- who agrees


SIZE = 1 << 20
CHARTER = Charter(spec(), 4, 0, A, "s", Epoch(1), frozenset((A, B)))
VOLUME = CHARTER.group.volumes[0]


def words(**other: Word) -> dict[str, Word]:
    found = {name: Word(name, size=SIZE, is_committed=True, free=10 * SIZE) for name in (A, B, C)}
    return found | {word.center: word for word in other.values()}


def against(asked: Asked, told: dict[str, Word]) -> list[tuple[str, Why, bool]]:
    found = resize.objections(asked, CHARTER, VOLUME, told)
    return [(one.center, one.why, one.is_waived) for one in found]


def test_all_agree() -> None:
    assert against(Asked(2 * SIZE), words()) == []


@pytest.mark.parametrize("why", sorted(resize.WAIVABLE))
def test_a_center_may_be_waived_but_not_the_owner(why: Why) -> None:
    lame = Word(C, why, "so it is", SIZE)
    assert against(Asked(2 * SIZE), words(one=lame)) == [(C, why, False)]
    assert against(Asked(2 * SIZE, (C,)), words(one=lame)) == [(C, why, True)]
    owner = replace(lame, center=A)
    assert against(Asked(2 * SIZE, (A, C)), words(one=owner)) == [(A, why, False)]


def test_who_is_too_old_or_larger_already_is_never_waived() -> None:
    old = Word(C, Why.TOO_OLD, "old", SIZE)
    assert against(Asked(2 * SIZE, (C,)), words(one=old)) == [(C, Why.TOO_OLD, False)]
    larger = Word(C, size=3 * SIZE, free=10 * SIZE)
    assert against(Asked(2 * SIZE, (C,)), words(one=larger)) == [(C, Why.SMALLER, False)]
    many = Word(C, size=SIZE, free=10 * SIZE, resizes=RESIZES_MAX)
    assert against(Asked(2 * SIZE, (C,)), words(one=many)) == [(C, Why.TOO_MANY, False)]


def test_space_is_asked_for_unless_the_size_is_a_promise() -> None:
    tight = Word(C, size=SIZE, free=SIZE - 1)
    assert against(Asked(2 * SIZE), words(one=tight)) == [(C, Why.NO_SPACE, False)]
    assert against(Asked(2 * SIZE, is_thin=True), words(one=tight)) == []
    assert against(Asked(2 * SIZE), words(one=replace(tight, free=SIZE))) == []


def test_who_was_not_asked_has_not_agreed_and_nothing_shrinks() -> None:
    told = words()
    del told[B]
    assert against(Asked(2 * SIZE), told) == [(B, Why.NOT_REACHED, False)]
    assert [why for _, why, _ in against(Asked(SIZE - ALIGNMENT), words())] == [Why.SMALLER] * 4


def test_the_remedy_names_what_helps() -> None:
    told = words(one=Word(C, Why.NOT_REACHED, "away"), two=Word(B, size=SIZE, free=0))
    found = resize.objections(Asked(2 * SIZE), CHARTER, VOLUME, told)
    said = resize.remedies(found, A)
    assert "--thin" in said
    assert f"--without {C}" in said
    assert f"--without {A}" not in said


def test_the_charter_keeps_the_first_size_through_any_number_of_resizes() -> None:
    once = resize.decided(CHARTER, VOLUME, 2 * SIZE)
    twice = resize.decided(once, once.group.volumes[0], 3 * SIZE)
    (volume,) = twice.group.volumes
    assert (volume.size, volume.first_size, twice.version) == (3 * SIZE, SIZE, 6)
    assert (volume.id, volume.name, volume.index) == (VOLUME.id, VOLUME.name, VOLUME.index)


@pytest.mark.parametrize("size", [0, -4096, 4097, VOLUME_BYTES_MAX + ALIGNMENT])
def test_what_is_no_size(size: int) -> None:
    assert resize.wrong_size(size)
    assert not resize.wrong_size(8192)
