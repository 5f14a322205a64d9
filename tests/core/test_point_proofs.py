"""What proofs come to: of the right log, the newest verdict, and no center believed against two others."""

from dataclasses import replace

import pytest

from drsync.core.point_proofs import by_point, compared, failing_words, holding, nearest, standing
from drsync.model.epoch import Epoch
from drsync.model.point_proof import DRILL, SELF_DRILL, TEXT_MAX, Outcome, PointKey, PointProof
from drsync.model.position import NO_CHAIN, Position

CHAIN = bytes(range(16))


def proof(seq: int, outcome: Outcome = Outcome.PROVED, at_us: int = 1, **more: object) -> PointProof:
    made = PointProof(Position(Epoch(1), seq, CHAIN), 10 * seq, outcome, SELF_DRILL, "hash", at_us, 1.5)
    return replace(made, **more)  # type: ignore[arg-type]


def test_a_proof_is_of_a_position_and_not_of_a_number() -> None:
    ours = {
        5: Position(Epoch(1), 5, CHAIN),
        6: Position(Epoch(2), 6, CHAIN),
        7: Position(Epoch(1), 7, NO_CHAIN),
    }
    known = [proof(7), proof(6), proof(5), proof(4)]
    assert [one.position.seq for one in holding(known, ours.get)] == [5]


def test_the_newest_verdict_counts_and_what_is_not_known_replaces_none() -> None:
    failed = proof(5, Outcome.FAILED, at_us=3)
    known = [proof(5, at_us=2), failed, proof(5, Outcome.UNKNOWN, at_us=9), proof(5, at_us=1)]
    assert list(by_point(known).values()) == [failed]
    assert by_point([proof(5, Outcome.UNKNOWN)])[PointKey(5, 50)].outcome is Outcome.UNKNOWN
    again = proof(5, at_us=4, by=DRILL, position=Position(Epoch(9), 5, NO_CHAIN))
    assert list(by_point([*known, again]).values()) == [again], (
        "a drill of the same point is a proof like others"
    )


def test_standing_tells_the_newest_proved_point_and_what_failed_above_it() -> None:
    known = [proof(3, Outcome.FAILED), proof(4), proof(5, Outcome.UNKNOWN), proof(6, Outcome.FAILED)]
    found = standing([*known, proof(8, Outcome.FAILED)])
    assert found.proved == proof(4)
    assert [one.position.seq for one in found.failed] == [8, 6]
    assert "the newest 2 points tried at remote fail" in failing_words("remote", found)
    assert "record 4 before it is proved" in failing_words("remote", found)
    assert not standing([*known, proof(9)]).is_failing
    assert failing_words("remote", standing([])) == ""


def test_the_nearest_proved_point_is_the_newest_before() -> None:
    known = [proof(3), proof(5), proof(6, Outcome.FAILED), proof(9)]
    assert [found.position.seq if (found := nearest(known, seq)) else None for seq in (1, 3, 8, 9)] == [
        3,
        3,
        5,
        9,
    ]
    assert nearest([proof(6, Outcome.FAILED)], 6) is None


@pytest.mark.parametrize(
    ("digests", "failed"),
    [
        ({"a": "s:1", "b": "s:1", "c": "s:1"}, []),
        ({"a": "s:1", "b": "s:1", "c": "s:2"}, ["c"]),
        ({"a": "s:1", "b": "s:2"}, ["a", "b"]),
        ({"a": "s:1", "b": "s:2", "c": "s:3"}, ["a", "b", "c"]),
        ({"a": "s:1", "b": "", "c": "s:1"}, []),
        ({"a": "s:1", "b": "other:2"}, []),
    ],
)
def test_different_content_at_one_position_is_no_proof(digests: dict[str, str], failed: list[str]) -> None:
    found = compared({center: [proof(5, digest=digest)] for center, digest in digests.items()})
    assert [
        center for center in sorted(found) if found[center][PointKey(5, 50)].outcome is Outcome.FAILED
    ] == failed


def test_content_of_other_positions_of_that_number_is_not_compared() -> None:
    other = proof(5, digest="s:2", position=Position(Epoch(2), 5, CHAIN))
    found = compared({"a": [proof(5, digest="s:1")], "b": [other]})
    assert all(one[PointKey(5, 50)].outcome is Outcome.PROVED for one in found.values())


def test_a_proof_is_written_and_read() -> None:
    known = proof(5, text="12 MiB read", digest="stored1:ab")
    assert PointProof.read({**known.fields(), "later": "versions"}) == known


@pytest.mark.parametrize(
    "wrong",
    [
        {"seq": -1},
        {"seq": True},
        {"chain": "zz"},
        {"chain": "ab"},
        {"outcome": "splendid"},
        {"seconds": float("nan")},
        {"text": "x" * (TEXT_MAX + 1)},
    ],
)
def test_what_is_no_proof_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        PointProof.read({**proof(5).fields(), **wrong})
