from pathlib import Path

import pytest

from drsync.config.problems import ConfigError
from drsync.model.errors import UsageError
from drsync.sim.availability import rates
from drsync.sim.availability.rates import Basis
from drsync.sim.availability.study import assumptions, rows


def test_every_shipped_row_names_its_basis_and_a_source() -> None:
    for path, row in rows(rates.shipped()).items():
        assert row.basis is not Basis.OWN, path
        assert row.source not in {"", "the user's table"}, path
        if row.basis in {Basis.PUBLISHED, Basis.DERIVED}:
            assert row.year is not None, f"{path}: what was published has a year"
        if row.basis is Basis.DERIVED:
            assert row.note, f"{path}: how it was derived"


def test_a_table_may_hold_only_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("faults:\n  disk: {per_year: 0.03}\nmodel:\n  disks: 8\n")
    table = rates.load(path)
    assert (table.faults.disk.per_year, table.model.disks) == (0.03, 8)
    assert table.faults.disk.repair == rates.shipped().faults.disk.repair
    assert table.faults.host_failure == rates.shipped().faults.host_failure


def test_a_row_that_the_user_changed_no_longer_leans_on_the_shipped_source() -> None:
    table = rates.parse("faults:\n  stall: {per_year: 1}\n", "own.yaml", over=rates.template())
    assert (table.faults.stall.basis, table.faults.stall.source) == (Basis.OWN, "the user's table")
    assert "faults.stall" in assumptions(rates.shipped())
    assert "faults.stall" not in assumptions(table)


def test_the_template_is_a_table() -> None:
    assert rates.parse(rates.template(), "rates.yaml", over=rates.template()) == rates.shipped()


def test_all_mistakes_come_in_one_report_with_lines() -> None:
    text = (
        "faults:\n  disc: {per_year: 1}\n  disk:\n    per_year: -1\n    repair: 4\n    spread: wide\n"
        "chances:\n  generator_fails: {value: 5}\npeople: often\nsteps:\n  open: {lasts: 1 fortnight}\n"
        "model: {paths: 0, basis: gues}\n"
    )
    with pytest.raises(ConfigError) as caught:
        rates.parse(text, "own.yaml", over=rates.template())
    found = {(one.path, one.line) for one in caught.value.problems}
    assert found == {
        ("faults.disc", 2),
        ("faults.disk.per_year", 4),
        ("faults.disk.repair", 5),
        ("faults.disk.spread", 6),
        ("chances.generator_fails.value", 8),
        ("people", 9),
        ("steps.open.lasts", 11),
        ("model.paths", 12),
        ("model.basis", 12),
    }
    assert "did you mean disk?" in str(caught.value)


@pytest.mark.parametrize("text", ["- a list", "a: {b: [", "just words"])
def test_what_is_no_table_is_said(text: str) -> None:
    with pytest.raises(ConfigError, match=r"1 mistake in own\.yaml"):
        rates.parse(text, "own.yaml", over=rates.template())


def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        rates.load(tmp_path / "nowhere.yaml")


def test_the_document_shows_every_row_with_its_source() -> None:
    page = (Path(__file__).parents[3] / "docs/availability-study.md").read_text("utf-8")
    for path, row in rows(rates.shipped()).items():
        assert f"| `{path}` |" in page
        assert f"| {row.basis.value} | {row.source} |" in page, path
