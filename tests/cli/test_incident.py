"""`drsync events --export` and `drsync sim --replay-incident`, as a person types them."""

import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

import pytest

RECORD = Path(__file__).parents[1] / "golden" / "incident" / "lab-demo.jsonl"


class Ended(Protocol):
    code: int
    out: str
    err: str


class Coordinator(Protocol):
    asked: list[tuple[str, str, object]]

    def answer(self, method: str, path: str, body: object, status: int = 200) -> None: ...


class Drsync(Protocol):
    def __call__(self, *words: str) -> Awaitable[Ended]: ...


async def test_an_incident_is_told_and_ends_with_zero_when_nothing_would_be_otherwise(drsync: Drsync) -> None:
    told = await drsync("sim", "--replay-incident", str(RECORD))
    assert told.code == 0, told.err
    assert "THE DECISION: same_city owns the group in epoch 2." in told.out
    assert "What if?" in told.out
    assert told.out.endswith("This version decides the same in all of them.\n")
    assert not [line for line in told.out.splitlines() if len(line) > 100]


async def test_one_decision_may_be_asked_about(drsync: Drsync) -> None:
    told = await drsync("sim", "--replay-incident", str(RECORD), "--at", "15", "--lang", "zh")
    assert told.code == 0, told.err
    assert "拒绝" in told.out
    wrong = await drsync("sim", "--replay-incident", str(RECORD), "--at", "99")
    assert wrong.code == 2
    assert "Its decisions are 7 to 24." in wrong.err


async def test_a_version_that_decides_otherwise_ends_with_one(
    drsync: Drsync, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("drsync.core.failover._is_prepared", lambda *_: True)
    told = await drsync("sim", "--replay-incident", str(RECORD))
    assert told.code == 1
    assert "This version would have decided otherwise in 1 of them:" in told.out
    assert "then: same_city cuts what does not belong to the history and syncs." in told.out
    assert "now:  Wait: production holds its lease" in told.out
    as_json = await drsync("sim", "--replay-incident", str(RECORD), "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out)["differences"] == [9]


async def test_a_file_that_is_no_whole_incident_is_refused_with_its_line(
    drsync: Drsync, tmp_path: Path
) -> None:
    lines = RECORD.read_bytes().splitlines(keepends=True)
    file = tmp_path / "incident.jsonl"
    for content, what in (
        (b"".join(lines[:-1]), f"line {len(lines) - 1}: the file ends here"),
        (b"".join(lines)[:-40], f"line {len(lines)}: it is cut off"),
        (b"".join(lines).replace(b"the lab's demo", b"a fire drill!!", 1), "is not what was exported"),
        (b"no incident", "line 1: "),
    ):
        file.write_bytes(content)
        told = await drsync("sim", "--replay-incident", str(file))
        assert told.code == 2
        assert what in told.err
    missing = await drsync("sim", "--replay-incident", str(tmp_path / "none"))
    assert missing.code == 2
    assert "No such file" in missing.err


async def test_an_export_is_written_for_its_owner_only_and_says_what_is_in_it(
    drsync: Drsync, coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.answer("GET", "/v1/export", RECORD.read_bytes())
    file = tmp_path / "incident.jsonl"
    told = await drsync("events", "--export", str(file), "--group", "demo", "--since", "2h")
    assert told.code == 0, told.err
    assert "3 operations, 18 decisions" in told.out
    assert coordinator.asked[-1] == ("GET", "/v1/export", {"group": "demo", "since_s": "7200"})
    assert file.read_bytes() == RECORD.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600


async def test_half_an_export_is_not_written(
    drsync: Drsync, coordinator: Coordinator, tmp_path: Path
) -> None:
    coordinator.answer("GET", "/v1/export", RECORD.read_bytes()[:5000])
    file = tmp_path / "incident.jsonl"
    told = await drsync("events", "--export", str(file))
    assert told.code == 1
    assert "incomplete" in told.err
    assert not file.exists()
    assert (await drsync("events", "--since", "1h")).code == 2
    assert (await drsync("events", "--export", str(file), "--since", "soon")).code == 2
    assert (await drsync("events", "--export", str(tmp_path / "no" / "file"))).code == 1
