import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import EPOCH_MAX, Epoch
from drsync.model.errors import MalformedError
from drsync.model.group import Durability, GroupPolicy, GroupSpec, Mode, Objectives, VolumeSpec
from drsync.model.position import CHAIN_BYTES, EpochRun, EpochStart, Loss, Position
from drsync.model.self_drill import Check, SelfDrill
from drsync.model.topology import Center, Designation
from drsync.wire.control import (
    DEPTH_MAX,
    ITEMS_MAX,
    dump,
    from_json,
    history_from_json,
    history_to_json,
    load,
    to_json,
)

U64 = st.integers(0, EPOCH_MAX)
EPOCHS = U64.map(Epoch)
NAMES = st.text(max_size=20)
CHAINS = st.binary(min_size=CHAIN_BYTES, max_size=CHAIN_BYTES)
SECONDS = st.floats(0, 1e9)
POSITIONS = st.builds(Position, EPOCHS, U64, CHAINS)
STARTS = st.builds(EpochStart, EPOCHS, NAMES, U64, CHAINS, st.sampled_from(Loss), U64)
RUNS = st.builds(EpochRun, EPOCHS, U64, U64, CHAINS)
CENTERS = st.builds(Center, NAMES, st.sampled_from(Designation), NAMES)
VOLUMES = st.builds(VolumeSpec, NAMES, NAMES, U64, st.integers(0, 0xFFFF))
OBJECTIVES = st.builds(Objectives, SECONDS, SECONDS, st.floats(0, 1))
POLICIES = st.builds(
    GroupPolicy, st.sampled_from(Mode), st.sampled_from(Durability), *[SECONDS] * 5, U64, SECONDS
)
GROUPS = st.builds(
    GroupSpec,
    NAMES,
    NAMES,
    st.lists(VOLUMES, max_size=3).map(tuple),
    st.lists(CENTERS, max_size=3).map(tuple),
    NAMES,
    OBJECTIVES,
    POLICIES,
)
INTENTS = st.builds(Intent, NAMES, st.sampled_from(IntentKind), NAMES, U64, NAMES, NAMES, st.booleans(), U64)
CHARTERS = st.builds(
    Charter,
    GROUPS,
    U64,
    U64,
    NAMES,
    NAMES,
    EPOCHS,
    st.frozensets(NAMES, max_size=3),
    st.lists(STARTS, max_size=3).map(tuple),
    st.none() | INTENTS,
)
STATEMENTS = st.builds(
    Statement,
    NAMES,
    NAMES,
    NAMES,
    st.sampled_from(CopyState),
    EPOCHS,
    EPOCHS,
    U64,
    st.lists(RUNS, max_size=3).map(tuple),
    *[U64] * 4,
    POSITIONS,
    st.booleans(),
    st.booleans(),
    U64,
)
WORDS = st.one_of(
    POSITIONS, STARTS, RUNS, CENTERS, VOLUMES, OBJECTIVES, POLICIES, GROUPS, INTENTS, CHARTERS, STATEMENTS
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(WORDS)
def test_every_word_comes_back_as_it_was_said(word: object) -> None:
    data = dump(to_json(word))
    assert from_json(type(word), load(data)) == word
    assert dump(load(data)) == data


@given(st.lists(STARTS, max_size=4).map(tuple))
def test_a_history_comes_back(history: tuple[EpochStart, ...]) -> None:
    body = load(dump({"history": history_to_json(history)}))
    assert history_from_json(body["history"]) == history


@given(STATEMENTS, JSON, st.data())
def test_any_wrong_field_is_malformed_and_named(
    statement: Statement, junk: object, data: st.DataObject
) -> None:
    body = to_json(statement)
    name = data.draw(st.sampled_from(sorted(body)))
    try:
        from_json(Statement, {**body, name: junk})
    except MalformedError as error:
        assert name in str(error)  # noqa: PT017  # some junk is right by chance


@pytest.mark.parametrize("kind", [Statement, Charter, Position, GroupSpec])
@given(junk=JSON)
def test_junk_never_crashes_the_reader(kind: type, junk: object) -> None:
    with pytest.raises(MalformedError):
        from_json(kind, junk)


def test_a_newer_peer_may_say_more() -> None:
    position = Position(Epoch(3), 7, bytes(16))
    assert from_json(Position, {**to_json(position), "colour": "blue"}) == position


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epoch", -1),
        ("epoch", EPOCH_MAX + 1),
        ("epoch", "3"),
        ("epoch", 3.0),
        ("epoch", True),
        ("chain", "00"),
        ("chain", "0" * 31 + "G"),
        ("chain", "0" * 31 + "\n"),
        ("chain", "0" * 33),
        ("seq", None),
    ],
)
def test_fields_are_strict(field: str, value: object) -> None:
    body = {**to_json(Position(Epoch(3), 7, bytes(16))), field: value}
    with pytest.raises(MalformedError, match=f"PositionForm: {field}:"):
        from_json(Position, body)


def test_a_word_that_breaks_a_limit_is_not_sent() -> None:
    with pytest.raises(MalformedError, match="name"):
        to_json(Center("x" * 256, Designation.REMOTE, "city"))


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def test_limits_of_a_body_are_exact() -> None:
    load(nested(DEPTH_MAX))
    with pytest.raises(MalformedError, match="deeper than"):
        load(nested(DEPTH_MAX + 1))
    load(json.dumps({"a": [0] * ITEMS_MAX}).encode())
    with pytest.raises(MalformedError, match="more than"):
        load(json.dumps({"a": [0] * (ITEMS_MAX + 1)}).encode())
    load(b'{"a":%d}' % EPOCH_MAX)
    with pytest.raises(MalformedError, match="65 bits"):
        load(b'{"a":%d}' % (EPOCH_MAX + 1))


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"[]", b"null", b"{", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":[-1e999]}'),
        *(b"\xff", b"[" * 200_000, b"9" * 200_000),
    ],
    ids=["empty", "list", "null", "cut", "nan", "infinity", "too-large", "not-utf8", "deep", "long-number"],
)
def test_what_is_no_body_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="control body"):
        load(data)


@given(
    st.binary(max_size=100) | st.text(alphabet='{}[]":,0123456789-.eE ntf\\u', max_size=60).map(str.encode)
)
def test_random_bytes_are_a_body_or_malformed(data: bytes) -> None:
    try:
        load(data)
    except MalformedError:
        return


def test_what_a_group_wants_of_self_drills_travels_and_an_older_charter_has_the_usual() -> None:
    wanted = SelfDrill(Check.PROGRAM, 60.0, ("check", "-q"), 0.5, 1 << 20, 30.0, 86400.0)
    group = GroupSpec("1", "g", (), (), "", policy=GroupPolicy(self_drill=wanted))
    body = to_json(group)
    assert from_json(GroupSpec, load(dump(body))) == group
    policy = body["policy"]
    assert isinstance(policy, dict)
    del policy["self_drill"]
    assert from_json(GroupSpec, body).policy.self_drill == SelfDrill()


@pytest.mark.parametrize(
    "wrong", [{"share": 0}, {"share": 1.5}, {"rate": 0}, {"check": "x"}, {"max_time_s": 1e9}]
)
def test_a_self_drill_that_would_never_end_is_refused(wrong: dict[str, object]) -> None:
    body = to_json(GroupSpec("1", "g", (), (), ""))
    policy = body["policy"]
    assert isinstance(policy, dict)
    policy["self_drill"] |= wrong
    with pytest.raises(MalformedError, match="self_drill"):
        from_json(GroupSpec, body)
