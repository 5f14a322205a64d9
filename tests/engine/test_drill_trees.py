"""The trees of a drill: waited for, read back, and never claimed to be proved when nobody told."""

import pytest

from drsync.engine.drill_trees import DrillTrees, opened_trees
from drsync.model.copy import Statement
from drsync.model.drill import Content, TreeFinding
from drsync.model.epoch import Epoch
from drsync.model.errors import MalformedError
from drsync.model.fileset import FileSetSpec, FileSetWord, Generation
from drsync.model.group import GroupSpec

GROUP = GroupSpec("g1", "g", (), (), "", filesets=(FileSetSpec("f1", "www", 1), FileSetSpec("f2", "mail", 2)))
PROOF = {"generation": 7, "expected": "aa", "found": "aa", "entries": 3, "bytes": 9, "equal": True}


def at(number: int) -> Statement:
    held = Generation(Epoch(1), number)
    return Statement("c", "s", "store", files=(FileSetWord("f1", held),))


def test_a_point_is_waited_for_until_its_trees_are_there() -> None:
    trees = DrillTrees()
    trees.marked({"seq": 5, "trees": {"www": 7}})
    assert trees.missing(GROUP, at(6)) == " and has www at generation 6 of 7"
    assert trees.missing(GROUP, at(7)) == ""
    assert trees.missing(GROUP, None) == ""
    assert trees.words == ", www at generation 7"


def test_what_was_read_back_is_the_finding() -> None:
    trees = DrillTrees()
    assert trees.read_back({"trees": {"www": PROOF}}) == ", 3 names of www"
    assert trees.read_back({}) == "", "the owner has no copy"
    assert trees.findings(GROUP) == (
        TreeFinding("www", 7, "aa", "aa", 3, 9, Content.EQUAL),
        TreeFinding("mail"),
    )


def test_only_the_agents_own_word_makes_a_tree_equal() -> None:
    trees = DrillTrees()
    trees.read_back({"trees": {"www": {**PROOF, "equal": False}}})
    assert trees.findings(GROUP)[0].content is Content.DIFFERENT
    with pytest.raises(MalformedError):
        trees.read_back({"trees": {"www": "fine"}})


def test_agents_that_know_no_trees_are_heard() -> None:
    trees = DrillTrees()
    trees.marked({"seq": 5})
    assert (trees.words, opened_trees({}), opened_trees({"trees": {"www": "/x"}})) == ("", [], ["www"])
