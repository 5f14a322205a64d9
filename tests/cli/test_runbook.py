"""`drsync runbook check` and `show`, and what a command sends when it follows a runbook."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Drsync, FakeCoordinator

ROOT = Path(__file__).parents[2]
SQLITE = ROOT / "runbooks" / "sqlite-service.yaml"
WRONG = ROOT / "tests" / "config" / "samples" / "runbook-wrong.yaml"
GOLDEN = ROOT / "tests" / "golden" / "runbook"


async def test_a_folder_of_runbooks_is_checked(drsync: Drsync) -> None:
    ended = await drsync("runbook", "check", str(ROOT / "runbooks"))
    assert ended.code == 0
    assert "sqlite-service.yaml: no mistakes (sqlite-service, version 1)" in ended.out


async def test_every_mistake_is_told_and_the_exit_code_says_so(drsync: Drsync) -> None:
    ended = await drsync("runbook", "check", str(WRONG), str(SQLITE))
    assert ended.code == 2
    told = [line for line in ended.out.splitlines() if ": spec." in line or ": metadata." in line]
    assert len(told) == 27
    assert f"{WRONG}:15:15: spec.steps[1].action: 'volume.mont' is not known here." in ended.out
    assert "28 mistakes" in ended.out
    assert "sqlite-service.yaml: no mistakes" in ended.out


async def test_mistakes_as_json(drsync: Drsync) -> None:
    ended = await drsync("runbook", "check", str(WRONG), "--json")
    found = json.loads(ended.out)
    assert (ended.code, found["ok"]) == (2, False)
    first = found["files"][0]["mistakes"][0]
    assert (first["code"], first["line"], first["column"], first["path"]) == (
        "wrong_version", 1, 13, "apiVersion",
    )  # fmt: skip


async def test_names_are_compared_with_the_cluster(
    drsync: Drsync, coordinator: FakeCoordinator, tmp_path: Path
) -> None:
    coordinator.answer("GET", "/v1/groups", {"groups": [{"name": "orders", "volumes": [{"name": "data"}]}]})
    coordinator.answer("GET", "/v1/status", {"centers": {"remote": {}}})
    book = tmp_path / "book.yaml"
    book.write_text(SQLITE.read_text().replace("  rto: 3m", "  rto: 3m\n  group: ordres"))
    ended = await drsync("runbook", "check", str(book), "--cluster")
    assert ended.code == 2
    assert "there is no group 'ordres'. Did you mean orders?" in ended.out
    book.write_text(book.read_text().replace("ordres", "orders").replace("default: disk", "default: data"))
    assert (await drsync("runbook", "check", str(book), "--cluster")).code == 0


async def test_what_would_be_done_is_shown(drsync: Drsync) -> None:
    """To accept a change: write the text to the golden file and read it."""
    ended = await drsync("runbook", "show", str(SQLITE), "--mode", "switchover")
    assert ended.code == 0
    lines = [line.rstrip() for line in ended.out.splitlines() if "sha256:" not in line]
    assert "\n".join(lines) + "\n" == (GOLDEN / "show-switchover.txt").read_text()


async def test_what_would_be_done_as_json(drsync: Drsync) -> None:
    ended = await drsync("runbook", "show", str(SQLITE), "--param", "port=9000", "--json")
    drill = json.loads(ended.out)["modes"]["drill"]
    assert [[step["id"] for step in stage] for stage in drill["stages"]] == [
        ["point", "net"], ["open"], ["tree", "compare"], ["serve"], ["query"],
    ]  # fmt: skip
    assert drill["undo"] == ["serve", "tree", "open", "net", "point"]
    serve = drill["stages"][3][0]
    assert serve["with"]["run"] == ["ledger-service", "{{ tree.path }}/ledger.db", "9000"]
    assert serve["check"]["with"]["port"] == 9000


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--runbook", str(WRONG)], "28 mistakes"),
        (["--runbook", str(SQLITE), "--param", "prot=1"], "there is no parameter 'prot'"),
        (["--runbook", str(SQLITE), "--param", "port"], "write NAME=VALUE"),
        (["--param", "port=1"], "--param needs --runbook"),
        (["--runbook", "absent.yaml"], "cannot be read"),
    ],
)
async def test_nothing_is_sent_when_the_runbook_is_wrong(
    drsync: Drsync, coordinator: FakeCoordinator, words: list[str], says: str
) -> None:
    ended = await drsync("drill", "run", "orders", *words)
    assert ended.code == 2
    assert says in ended.err
    assert coordinator.asked == []


async def test_the_runbook_is_sent_byte_for_byte(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    coordinator.operation("/v1/groups/orders/failover", {"state": "done", "steps": [], "result": {}})
    ended = await drsync(
        "failover", "orders", "--to", "remote", "--runbook", str(SQLITE), "--param", "rows=7"
    )
    assert ended.code == 0
    body = coordinator.asked[0][2]
    assert isinstance(body, dict)
    expected = {"text": SQLITE.read_text(), "name": "sqlite-service.yaml", "params": {"rows": "7"}}
    assert body["runbook"] == expected
