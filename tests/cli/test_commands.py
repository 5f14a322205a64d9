import json
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

import pytest

Json = dict[str, object]


class Ended(Protocol):
    code: int
    out: str
    err: str


class Drsync(Protocol):
    def __call__(self, *words: str) -> Awaitable[Ended]: ...


class Coordinator(Protocol):
    asked: list[tuple[str, str, object]]

    def answer(self, method: str, path: str, body: object, status: int = 200) -> None: ...
    def refuse(self, method: str, path: str, exit_code: int, message: str, remedy: str = "") -> None: ...
    def operation(self, path: str, *states: Json) -> None: ...


T = 1_790_000_000_000_000

STATUS: Json = {
    "coordinator": {"software": "0.1.0", "cluster": "shop"},
    "centers": {
        "production": {"designation": "production", "site": "beijing", "connected": True},
        "same_city": {"designation": "same_city", "site": "beijing", "connected": True},
        "remote": {
            "designation": "remote",
            "site": "guangzhou",
            "connected": False,
            "since_us": 1_790_000_000_000_000,
        },
    },
    "groups": {
        "orders": {
            "owner": "production",
            "epoch": 3,
            "epoch_text": "3",
            "in_sync": ["production", "same_city"],
            "ready": False,
            "waiting": "remote is not connected",
            "intent": None,
            "objectives": {"rpo_s": 15.0},
            "centers": {
                "production": {"role": "owner", "state": "owner", "position": 123456, "connected": True},
                "same_city": {
                    "role": "replica",
                    "state": "replica",
                    "position": 123456,
                    "lag_records": 0,
                    "lag_bytes": 0,
                    "lag_seconds": 0,
                    "rpo_actual_s": 0.0,
                    "connected": True,
                },
                "remote": {
                    "role": "replica",
                    "state": "replica",
                    "position": 120000,
                    "lag_records": 3456,
                    "lag_bytes": 14155776,
                    "lag_seconds": 21.5,
                    "rpo_actual_s": 21.5,
                    "connected": False,
                },
            },
            "last_drill": None,
        }
    },
}


def ended(state: str, **more: object) -> Json:
    steps = [
        {"n": n, "name": f"group.step{n}", "center": "remote", "seconds": 0.1, "outcome": "done"}
        for n in (1, 2)
    ]
    return {"id": "ab" * 16, "kind": "failover", "group": "orders", "state": state, "steps": steps, **more}


LOSS: Json = {
    "target": "remote",
    "loss": "forced",
    "position": 120000,
    "records_at_least": 3456,
    "bytes_lost": None,
    "from_us": None,
    "until_us": 1_790_000_000_000_000,
    "centers": [{"center": "production", "text": "not reached; 9 s ago it had committed up to 123456"}],
    "may_lose_acknowledged": True,
}


async def test_status_fits_a_terminal_and_says_what_is_not_right(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.answer("GET", "/v1/status", STATUS)

    shown = await drsync("status")

    assert shown.code == 0
    assert max(len(line) for line in shown.out.splitlines()) <= 100
    assert "2 of 3 centers connected" in shown.out
    assert "remote (remote) is not connected" in shown.out
    assert "22 s OVER 15 s" in shown.out
    assert "replica, in sync" in shown.out
    assert "orders waits: remote is not connected (drsync why orders)" in shown.out


async def test_status_as_json_is_what_the_coordinator_said(coordinator: Coordinator, drsync: Drsync) -> None:
    coordinator.answer("GET", "/v1/status", STATUS)
    assert json.loads((await drsync("status", "--json")).out) == STATUS


async def test_a_status_of_a_newer_coordinator_is_shown_as_far_as_it_is_understood(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.answer(
        "GET", "/v1/status", {"groups": {"orders": {"centers": {"x": {"role": 5}}, "owner": []}}}
    )
    assert (await drsync("status")).code == 0


async def test_names_from_elsewhere_cannot_steer_the_terminal(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.answer("GET", "/v1/status", {"groups": {"evil\x1b[2J[bold]": {"owner": "a\rb", "epoch": 1}}})

    shown = await drsync("status")

    assert "\x1b" not in shown.out
    assert "\r" not in shown.out
    assert "[bold]" in shown.out


@pytest.mark.parametrize("exit_code", [1, 2, 3, 4, 5])
async def test_the_coordinator_chooses_the_exit_code(
    coordinator: Coordinator, drsync: Drsync, exit_code: int
) -> None:
    coordinator.refuse("POST", "/v1/groups/orders/switchover", exit_code, "no", "try again")

    told = await drsync("switchover", "orders", "--to", "remote")
    assert told.code == exit_code
    assert told.err.endswith(f"{'refused' if exit_code == 3 else 'error'}: no\nremedy: try again\n")

    told = await drsync("switchover", "orders", "--to", "remote", "--json")
    assert told.code == exit_code
    assert json.loads(told.err) == {
        "error": {"code": "some_code", "message": "no", "remedy": "try again", "exit": exit_code}
    }


async def test_no_coordinator_is_not_reached(drsync: Drsync, tmp_path: Path) -> None:
    told = await drsync("status", "--coordinator", f"unix:{tmp_path}/none.sock")
    assert told.code == 4
    assert "No such file or directory" in told.err
    assert "drsync lab status" in told.err


async def test_what_is_no_address_is_wrong_usage(drsync: Drsync) -> None:
    assert (await drsync("status", "--coordinator", "ftp://x")).code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stauts"], "Did you mean 'status'?"),
        (["failover", "orders"], "Missing option '--to'"),
        (["group", "apply"], "Missing option '-f'"),
        (["status", "--jsn"], "No such option"),
        (["why", ".."], "is no name"),
    ],
)
async def test_wrong_usage_ends_with_two(drsync: Drsync, words: list[str], said: str) -> None:
    told = await drsync(*words)
    assert told.code == 2
    assert said in told.err


async def test_a_switchover_shows_its_steps_and_its_end(coordinator: Coordinator, drsync: Drsync) -> None:
    path = "/v1/groups/orders/switchover"
    coordinator.operation(path, {**ended("running"), "steps": []}, ended("done", result={"epoch_text": "4"}))

    told = await drsync("switchover", "orders", "--to", "same_city", "--reason", "test", "--actor", "me")

    assert told.code == 0
    assert "step 2: group.step2 remote done in 0.100 s" in told.err
    assert told.out == "same_city owns orders in epoch 4 (took 0.20 s).\n"
    assert coordinator.asked[0] == ("POST", path, {"to": "same_city", "reason": "test", "actor": "me"})


async def test_a_failover_that_would_lose_writes_is_refused_with_its_loss(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    error = {"code": "loss", "message": "acknowledged writes would be lost", "remedy": "Wait.", "exit": 3}
    coordinator.operation("/v1/groups/orders/failover", ended("refused", loss=LOSS, error=error))

    told = await drsync("failover", "orders", "--to", "remote")

    assert told.code == 3
    assert "opening at remote at record 120000" in told.out
    assert "at least 3,456 records; their size is not known" in told.out
    assert "9 s ago it had committed up to 123456" in told.out
    assert "refused: acknowledged writes would be lost\nremedy: Wait.\n" in told.err


async def test_a_refused_failover_as_json_holds_the_loss_statement(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.operation("/v1/groups/orders/failover", ended("refused", loss=LOSS))

    told = await drsync("failover", "orders", "--to", "remote", "--json")

    assert told.code == 3
    assert json.loads(told.out)["loss"] == LOSS
    lines = [json.loads(line) for line in told.err.splitlines()]
    assert lines[1]["step"]["name"] == "group.step1"
    assert lines[-1]["error"]["exit"] == 3


async def test_an_accepted_loss_is_not_asked_about_without_a_terminal(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.operation("/v1/groups/orders/failover", ended("done", loss=LOSS))

    assert (await drsync("failover", "orders", "--to", "remote", "--accept-loss")).code == 0

    posts = [body for method, _, body in coordinator.asked if method == "POST"]
    assert [(body["accept_loss"], body["dry_run"]) for body in posts if isinstance(body, dict)] == [
        (True, False)
    ]


async def test_failback_is_a_switchover_to_the_preferred_owner(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.answer("GET", "/v1/groups/orders", {"name": "orders", "preferred_owner": "production"})
    coordinator.operation("/v1/groups/orders/switchover", ended("done"))

    assert (await drsync("failback", "orders")).code == 0
    body = coordinator.asked[1][2]
    assert isinstance(body, dict)
    assert body["to"] == "production"


async def test_why_says_who_and_until_when(coordinator: Coordinator, drsync: Drsync) -> None:
    line = {"what": "waits for the lease to run out", "who": "production", "epoch": 3, "until_s": 6.0}
    coordinator.answer(
        "GET", "/v1/groups/orders/why", {"group": "orders", "lines": [{**line, "remedy": "Wait."}]}
    )
    assert (
        await drsync("why", "orders")
    ).out == "  waits for the lease to run out, on production, in epoch 3, for 6 s more\n    Wait.\n"

    coordinator.answer("GET", "/v1/groups/orders/why", {"group": "orders", "lines": []})
    assert (await drsync("why", "orders")).out == "orders waits for nothing.\n"


async def test_points_are_merged_over_the_centers_that_hold_them(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    point = {"seq": 7, "time_us": 1_790_000_000_000_000, "name": "noon", "app": False}
    held = {"production": {"points": [point]}, "remote": {"points": [point]}}
    coordinator.answer("GET", "/v1/groups/orders/points", {"centers": held})

    shown = await drsync("points", "orders")

    assert "noon" in shown.out
    assert "production, remote" in shown.out


async def test_points_show_how_far_their_content_shrinks(coordinator: Coordinator, drsync: Drsync) -> None:
    text: Json = {"seq": 7, "time_us": 1_790_000_000_000_000, "name": "text", "app": False, "ratio": 4.187}
    noise = {**text, "seq": 8, "name": "noise", "ratio": 1.0}
    quiet: Json = {"seq": 9, "time_us": 1_790_000_000_000_000, "name": "quiet", "app": False}
    answer: Json = {"centers": {"remote": {"points": [text, noise, quiet]}}}
    coordinator.answer("GET", "/v1/groups/orders/points", answer)

    lines = (await drsync("points", "orders")).out.splitlines()

    shown = {name: line.split() for line in lines for name in ("text", "noise", "quiet") if name in line}
    assert [shown[name][-3] for name in ("text", "noise", "quiet")] == ["4.2", "1.0", "-"]
    assert json.loads((await drsync("points", "orders", "--json")).out) == answer


async def test_points_show_who_proved_them_and_what_fails(coordinator: Coordinator, drsync: Drsync) -> None:
    made_us = time.time_ns() // 1000 - 2 * 86_400_000_000
    point: Json = {"seq": 7, "time_us": made_us, "name": "", "app": False}
    proof: Json = {"outcome": "proved", "by": "self-drill", "check": "hash", "at_us": made_us}
    broken: Json = {**proof, "outcome": "failed", "seq": 9, "text": "ext4 of disk is not clean"}
    why = {"check": "filesystem", "failures": 2, "failed": [broken], "why": "its share of time is used up"}
    held = {
        "remote": {"points": [{**point, "proof": proof}], "self_drill": why},
        "same_city": {"points": [point]},
    }
    coordinator.answer("GET", "/v1/groups/orders/points", {"centers": held})

    told = " ".join((await drsync("points", "orders")).out.split())

    assert "remote proved 2 d ago" in told
    assert (
        "remote: 2 points failed above the newest proved one; record 9, 2 d ago: ext4 of disk is not clean"
        in told
    )
    assert "self-drill (filesystem): its share of time is used up" in told


GROUP = """\
name = "orders"
members = ["a"]
preferred_owner = "a"
[[volumes]]
name = "d"
size = "1 MiB"
"""

DRILL: Json = {
    "id": "cd" * 16,
    "group": "orders",
    "center": "remote",
    "verdict": "passed",
    "content": "equal",
    "started_us": 1_790_000_000_000_000,
    "rto_s": 0.8,
    "rto_target_s": 300.0,
    "point": {"seq": 9, "time_us": 1_790_000_000_000_000, "name": ""},
    "steps": [],
}


async def test_a_drill_is_run_listed_shown_and_written(
    coordinator: Coordinator, drsync: Drsync, tmp_path: Path
) -> None:
    coordinator.operation("/v1/groups/orders/drill", ended("done", result=DRILL))
    coordinator.answer("GET", "/v1/drills", {"drills": [DRILL]})
    coordinator.answer("GET", f"/v1/drills/{'cd' * 16}", DRILL)
    coordinator.answer("GET", f"/v1/drills/{'cd' * 16}/report.html", b"<html>evidence</html>")

    assert "RTO       0.80 s, target 5 min" in (await drsync("drill", "run", "orders")).out
    assert "cdcdcdcdcdcd" in (await drsync("drill", "list")).out
    assert "verdict   passed" in (await drsync("drill", "show", "cdcd")).out
    assert (
        await drsync("drill", "report", "cdcd", "--lang", "zh", "--out", str(tmp_path / "d.html"))
    ).code == 0
    assert (tmp_path / "d.html").read_bytes() == b"<html>evidence</html>"
    assert coordinator.asked[-1] == ("GET", f"/v1/drills/{'cd' * 16}/report.html", {"lang": "zh"})
    assert (await drsync("drill", "show", "ffff")).code == 2


async def test_a_failed_drill_ends_with_one_and_still_shows_what_it_found(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    found = {**DRILL, "verdict": "failed", "reasons": ["volume data differs from its source"]}
    coordinator.operation("/v1/groups/orders/drill", ended("done", result=found))

    told = await drsync("drill", "run", "orders")

    assert told.code == 1
    assert "volume data differs from its source" in told.out


async def test_a_group_file_with_mistakes_asks_nobody(
    coordinator: Coordinator, drsync: Drsync, tmp_path: Path
) -> None:
    file = tmp_path / "orders.toml"
    file.write_text(
        'name = "orders"\nmembers = ["a"]\npreferred_owner = "b"\n[[volumes]]\nname = "d"\nsize = "1 B"\n'
    )

    told = await drsync("group", "apply", "-f", str(file))

    assert told.code == 2
    assert "preferred_owner (line 3): 'b' is not one of the members (a)" in told.err
    assert "volumes[0].size (line 6): a volume has at least 4 KiB" in told.err
    assert coordinator.asked == []


async def test_a_group_is_applied_as_its_file_says(
    coordinator: Coordinator, drsync: Drsync, tmp_path: Path
) -> None:
    file = tmp_path / "orders.toml"
    file.write_text(GROUP)
    coordinator.answer("POST", "/v1/groups", {"group": "orders"})

    assert (await drsync("group", "apply", "-f", str(file))).code == 0
    body = coordinator.asked[0][2]
    assert isinstance(body, dict)
    assert body["volumes"] == [{"name": "d", "size": "1 MiB"}]


async def test_config_check_prints_every_mistake_and_ends_with_two(drsync: Drsync, tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('stat_dir = "s"\nrun_dir = "/run/d"\n[center]\nname = "a b"\n')

    told = await drsync("config", "check", str(file))
    assert told.code == 2
    assert "stat_dir (line 1): is not a known key here; did you mean state_dir?" in told.err

    as_json = json.loads((await drsync("config", "check", str(file), "--json")).out)
    assert as_json["ok"] is False
    assert {"path": "center.site", "line": 3, "what": "is missing", "nearest": ""} in as_json["problems"]


async def test_a_token_is_sent_and_its_absence_explained(
    coordinator: Coordinator, drsync: Drsync, tmp_path: Path
) -> None:
    coordinator.answer("GET", "/v1/status", {}, status=401)
    told = await drsync("status")
    assert told.code == 1
    assert "asks for a token" in told.err
    assert "DRSYNC_TOKEN_FILE" in told.err

    told = await drsync("status", "--token-file", str(tmp_path / "none"))
    assert told.code == 2
    assert "cannot read the token" in told.err


async def test_charter_and_events_and_groups_are_shown(coordinator: Coordinator, drsync: Drsync) -> None:
    start = {"epoch": 1 << 32, "fork_seq": 90, "loss": "forced", "lost_at_least": 4}
    charter = {"version": 12, "owner": "remote", "epoch": 1 << 32, "in_sync": ["remote"], "history": [start]}
    coordinator.answer("GET", "/v1/groups/orders/charter", charter)
    coordinator.answer("GET", "/v1/groups/orders/charter/history", {"history": [charter]})
    coordinator.answer("GET", "/v1/events", {"events": [{"n": 1, "at_us": 1, "text": "agent connected"}]})
    coordinator.answer("GET", "/v1/groups", {"groups": [{"name": "orders", "volumes": [{"size": 4096}]}]})

    assert "forced, at least 4 records" in (await drsync("charter", "show", "orders")).out
    assert "1.0" in (await drsync("charter", "history", "orders")).out
    assert "agent connected" in (await drsync("events", "--group", "orders")).out
    assert "1, 4 KiB" in (await drsync("group", "list")).out
