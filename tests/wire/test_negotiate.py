import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model.errors import (
    DrsyncError,
    FailedCopyError,
    MalformedError,
    PermanentError,
    RefusedError,
    TransientError,
    UsageError,
)
from drsync.wire import faults, negotiate
from drsync.wire.control import Hello, Welcome, dump, load

NAMES = st.sampled_from(["zstd", "fetch2", "files", "drill"])
FEATURES = st.lists(NAMES, max_size=3).map(tuple)
RANGES = st.tuples(st.integers(1, 5), st.integers(1, 5)).map(lambda pair: (min(pair), max(pair)))


def hello(name: str, **changes: object) -> Hello:
    facts = {
        "protocol_min": 1,
        "protocol_max": 1,
        "software": "1.0",
        "cluster": "c1",
        "center": name,
        "session": "s",
        "kind": "control",
        "frame_bytes_max": 1 << 18,
        "requests_max": 64,
    }
    return Hello.model_validate({**facts, **changes})


def both(left: Hello, right: Hello) -> tuple[object, object]:
    def outcome(mine: Hello, theirs: Hello) -> object:
        try:
            return negotiate.agree(mine, theirs, theirs.center)
        except RefusedError as error:
            return error

    return outcome(left, right), outcome(right, left)


@given(RANGES, RANGES, FEATURES, FEATURES, FEATURES, FEATURES)
def test_both_sides_come_to_the_same_conclusion(
    left: tuple[int, int],
    right: tuple[int, int],
    features: tuple[str, ...],
    critical: tuple[str, ...],
    other_features: tuple[str, ...],
    other_critical: tuple[str, ...],
) -> None:
    mine = hello(
        "a", protocol_min=left[0], protocol_max=left[1], features=features, critical_features=critical
    )
    theirs = hello(
        "b",
        protocol_min=right[0],
        protocol_max=right[1],
        features=other_features,
        critical_features=other_critical,
    )
    here, there = both(mine, theirs)
    if isinstance(here, RefusedError) or isinstance(there, RefusedError):
        assert isinstance(here, RefusedError)
        assert isinstance(there, RefusedError)
        assert here.code == there.code
        return
    assert isinstance(here, negotiate.Agreed)
    assert isinstance(there, negotiate.Agreed)
    assert (here.protocol, here.features) == (there.protocol, there.features)
    assert here.protocol == min(left[1], right[1])
    assert {*critical, *other_critical} <= set(here.features)
    negotiate.check_welcome(here, negotiate.welcome(there), "b")


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"cluster": "c2"}, "wrong_cluster", "wrong cluster: b belongs to 'c2', this side to 'c1'"),
        ({"center": "z"}, "wrong_name", "b by its key calls itself 'z'"),
        ({"kind": "bulk"}, "wrong_kind", "'bulk' link on a 'control' link"),
        ({"protocol_min": 2, "protocol_max": 3}, "version", "no common protocol"),
        ({"critical_features": ["teleport"]}, "feature", "b insists on teleport"),
    ],
)
def test_who_does_not_belong_here_is_told_why(changes: dict[str, object], code: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words) as caught:
        negotiate.agree(hello("a"), hello("b", **changes), "b")
    assert caught.value.code == code


def test_the_older_side_is_named_for_the_upgrade() -> None:
    new = hello("a", protocol_min=4, protocol_max=5)
    old = hello("b", protocol_min=2, protocol_max=3)
    for mine, theirs, who in ((new, old, "b"), (old, new, "this side")):
        with pytest.raises(RefusedError) as caught:
            negotiate.agree(mine, theirs, theirs.center)
        assert caught.value.remedy == f"Upgrade {who} first, one version at a time."


def test_limits_only_go_down() -> None:
    agreed = negotiate.agree(hello("a"), hello("b", frame_bytes_max=1 << 17, requests_max=3), "b")
    assert (agreed.frame_bytes_max, agreed.requests_max) == (1 << 17, 3)
    assert negotiate.agree(hello("a"), hello("b", frame_bytes_max=1 << 30), "b").frame_bytes_max == 1 << 18


def test_a_welcome_that_chose_something_else_is_refused() -> None:
    agreed = negotiate.agree(hello("a"), hello("b"), "b")
    with pytest.raises(RefusedError, match="b chose protocol 9"):
        negotiate.check_welcome(agreed, Welcome(protocol=9, features=()), "b")


@pytest.mark.parametrize("kind", [TransientError, PermanentError, RefusedError, MalformedError, UsageError])
@given(message=st.text(max_size=50), code=st.text(alphabet="abc_", min_size=1, max_size=20))
def test_errors_arrive_as_what_they_were(kind: type[DrsyncError], message: str, code: str) -> None:
    error = kind(message or "x", code=code, remedy="do this")
    arrived = faults.from_body(load(dump(faults.to_body(error))))
    assert (type(arrived), arrived.code, arrived.remedy) == (kind, code, "do this")


def test_a_failed_copy_is_permanent_to_others_and_an_unknown_class_too() -> None:
    assert type(faults.from_body(faults.to_body(FailedCopyError("disk")))) is PermanentError
    assert type(faults.from_body({"class": "haunted", "message": 3})) is PermanentError


def test_control_characters_of_a_peer_reach_no_terminal() -> None:
    arrived = faults.from_body({"class": "refused", "message": "a\x1b[2Jb\nc", "code": "x\r"})
    assert str(arrived) == "a?[2Jb?c"
    assert arrived.code == "x?"
    assert str(faults.from_bye("b", {"reason": "tired\x07"})) == "b closed the link: tired?"
