"""The book of proofs: kept over restarts and power cuts, bounded, and passed over when it makes no sense."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.agent.proof_book import PROOFS_MAX, ProofBook
from drsync.model.epoch import Epoch
from drsync.model.point_proof import SELF_DRILL, TEXT_MAX, Outcome, PointProof
from drsync.model.position import Position
from drsync.sim.agent import STATE_DIR, install
from drsync.sim.disk import Disk
from drsync.sim.disk_files import DiskFiles

PROOF = PointProof(
    Position(Epoch(1), 7, bytes(range(16))), 70, Outcome.PROVED, SELF_DRILL, "hash", 99, 0.5, "1 MiB read"
)


def test_what_was_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    book = ProofBook(tmp_path)
    assert (book.load(), book.proofs) == ("", ())
    book.write((PROOF,))
    again = ProofBook(tmp_path)
    assert (again.load(), again.proofs) == ("", (PROOF,))


@pytest.mark.parametrize("damage", ["", "{}", "[1]", "{" * 5000, "\0"])
def test_a_book_that_makes_no_sense_is_passed_over(tmp_path: Path, damage: str) -> None:
    (tmp_path / "proofs.json").write_text(damage)
    book = ProofBook(tmp_path)
    assert "passed over" in book.load()
    assert book.proofs == ()
    book.write((PROOF,))
    assert ProofBook(tmp_path).load() == ""


@pytest.mark.parametrize("change", [{"version": 2}, {"proofs": []}, {"checksum": "0"}])
def test_a_changed_or_later_book_proves_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    ProofBook(tmp_path).write((PROOF,))
    path = tmp_path / "proofs.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    book = ProofBook(tmp_path)
    assert "passed over" in book.load()
    assert book.proofs == ()


def test_it_keeps_one_proof_a_point_and_the_newest_points(tmp_path: Path) -> None:
    book = ProofBook(tmp_path)
    held: tuple[PointProof, ...] = (PROOF,)
    assert book.added(replace(PROOF, at_us=100), held) == (replace(PROOF, at_us=100),)
    assert book.added(replace(PROOF, at_us=100, outcome=Outcome.UNKNOWN), held) == held
    for seq in range(8, 8 + PROOFS_MAX):
        held = book.added(
            replace(PROOF, position=replace_seq(seq), time_us=10 * seq, text="x" * TEXT_MAX), held
        )
    assert len(held) == PROOFS_MAX
    assert held[0].position.seq == 8
    book.write(held)
    assert ProofBook(tmp_path).load() == "", "the largest book is still read"


def replace_seq(seq: int) -> Position:
    return Position(Epoch(1), seq, bytes(range(16)))


@pytest.mark.parametrize("seed", range(10))
def test_after_a_power_cut_there_is_a_whole_book(seed: int) -> None:
    disk = Disk()
    install(disk)
    book = ProofBook(STATE_DIR, DiskFiles(disk))
    book.write((PROOF,))
    later = replace(PROOF, outcome=Outcome.FAILED)
    book.write((later,))
    disk.power_cut(random.Random(seed))
    again = ProofBook(STATE_DIR, DiskFiles(disk))
    assert (again.load(), again.proofs) == ("", (later,))
