"""The application of the prefix proof, and what its judge finds."""

from pathlib import Path

import pytest

from tests.proofs.repository import HEAD, Repository, after, found, require_state, stages, step


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    application = Repository(tmp_path)
    for number in range(1, 41):
        application._do(number)
    return tmp_path


def test_the_tree_is_what_was_foretold(tree: Path) -> None:
    assert found(tree) == after(40)
    assert require_state(tree) == 40


def test_a_step_that_has_begun_is_no_damage(tree: Path) -> None:
    (path, content), *_ = step(41).writes.items()
    (tree / path).parent.mkdir(exist_ok=True)
    (tree / path).write_bytes(content)
    assert require_state(tree) == 40


@pytest.mark.parametrize("what", ["missing", "changed", "too old", "too new", "foreign"])
def test_what_no_instant_leaves_behind_is_found(tree: Path, what: str) -> None:
    (own, *_), *_ = [list(step(40).writes)]
    match what:
        case "missing":
            (tree / own).unlink()
        case "changed":
            (tree / own).write_bytes(b"something else")
        case "too old":
            (tree / HEAD).write_text("38")
        case "too new":
            (tree / HEAD).write_text("42")
        case _:
            (tree / "foreign").write_text("")
    with pytest.raises(AssertionError, match="after step"):
        require_state(tree)


def test_each_stage_is_another_tree() -> None:
    before = after(34)
    assert step(35).moves
    seen = [before, *stages(before, step(35))]
    assert seen[-1] == after(35)
    assert len(seen) == 6
