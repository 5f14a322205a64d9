"""`drsync report`, and objectives in `drsync status`: figures with targets, in words and not by color."""

import json
from collections.abc import Awaitable
from typing import Protocol

import pytest

from drsync.cli.report import _percent

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


T = 1_790_000_000_000_000
RULE: Json = {
    "rate": 14.4,
    "long_s": 3600,
    "short_s": 300,
    "urgency": "page",
    "long_rate": 1234.5,
    "short_rate": None,
    "fires": True,
}
AVAILABILITY: Json = {
    "reports": [
        {
            "group": "orders",
            "account": {
                "window_s": 2592000.0,
                "watched_s": 86400.0,
                "target": 0.9999,
                "budget_s": 259.2,
                "down_s": 300.0,
                "planned_s": 2.0,
                "unknown_s": 0.0,
                "used_s": 300.0,
                "left_s": -40.8,
                "unprotected_s": 60.0,
                "available": 0.99652,
                "outages": 1,
                "mtbf_s": 86100.0,
                "mttr_s": 300.0,
            },
            "from_us": T,
            "to_us": T + 86_400_000_000,
            "first_us": T,
            "burn": [RULE],
            "stretches": [
                {
                    "lack": "down",
                    "from_us": T,
                    "seconds": 300.0,
                    "cause": "failover to remote",
                    "operation": "ab" * 16,
                    "is_planned": False,
                    "center": "",
                },
                {"lack": "down", "from_us": T, "seconds": 2.0, "cause": "switchover", "is_planned": True},
            ],
            "stretches_left_out": 7,
            "resolution_s": 1.0,
        }
    ]
}
COMPLIANCE: Json = {
    "reports": [
        {
            "group": "orders",
            "target_s": 15.0,
            "goal": 0.9999,
            "from_us": T,
            "to_us": T + 100_000_000,
            "first_us": T,
            "centers": {
                "remote": {
                    "watched_s": 100.0,
                    "not_watched_s": 0.0,
                    "over_s": 5.0,
                    "unknown_s": 1.0,
                    "max_s": 20.0,
                    "share": 0.94,
                    "burn": [],
                }
            },
            "stretches": [],
            "resolution_s": 2.5,
        }
    ]
}


def status(**remote: object) -> Json:
    return {
        "centers": {"remote": {"connected": True}},
        "groups": {
            "orders": {
                "owner": "production",
                "ready": True,
                "objectives": {"rpo_s": 15.0},
                "centers": {
                    "production": {"role": "owner", "rpo_standing": "ok"},
                    "remote": {"role": "replica", "rpo_actual_s": 0.1, **remote},
                },
                "rto": {
                    "predicted_s": 400.0,
                    "target_s": 300.0,
                    "standing": "over",
                    "source": {"kind": "drill", "center": "remote"},
                },
                "availability": {
                    "target": 0.9999,
                    "window_s": 2592000.0,
                    "watched_s": 100.0,
                    "budget_s": 259.2,
                    "used_s": 200.0,
                    "burning": [RULE],
                },
            }
        },
    }


async def test_the_availability_report_lists_budget_and_intervals(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.answer("GET", "/v1/reports/availability?group=orders&since_s=3600", AVAILABILITY)
    coordinator.answer("GET", "/v1/reports/availability", AVAILABILITY)
    shown = await drsync("report", "availability", "--group", "orders", "--since", "1h")
    assert shown.code == 0, shown.err
    assert max(len(line) for line in shown.out.splitlines()) <= 100
    for words in ("41 s overdrawn", "99.652 %", "failover to remote (abababababab)", "planned", "∞", "ALARM"):
        assert words in shown.out
    assert "7 older stretches" in shown.out


async def test_reports_are_told_in_chinese_and_as_json(coordinator: Coordinator, drsync: Drsync) -> None:
    coordinator.answer("GET", "/v1/reports/availability", AVAILABILITY)
    coordinator.answer("GET", "/v1/reports/compliance", COMPLIANCE)
    assert "错误预算" in (await drsync("report", "availability", "--lang", "zh")).out
    assert "达标" in (await drsync("report", "compliance", "--lang", "zh")).out
    assert json.loads((await drsync("report", "compliance", "--json")).out) == COMPLIANCE


async def test_the_compliance_report_has_a_row_for_each_copy(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.answer("GET", "/v1/reports/compliance", COMPLIANCE)
    shown = await drsync("report", "compliance")
    assert "94 %" in shown.out
    assert "20 s" in shown.out


async def test_a_wrong_period_is_wrong_usage(coordinator: Coordinator, drsync: Drsync) -> None:
    del coordinator
    ended = await drsync("report", "availability", "--since", "yesterday")
    assert ended.code == 2
    assert "--since" in ended.err


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ({"rpo_standing": "ok", "rpo_proved_s": 1.2}, "1.2 s of 15 s"),
        ({"rpo_standing": "over", "rpo_proved_s": 21.5}, "22 s OVER 15 s"),
        ({"rpo_standing": "unknown", "rpo_unknown_why": "its copy is failed"}, "UNKNOWN, 15 s"),
        (
            {"rpo_standing": "unknown", "rpo_unknown_why": "its copy is failed"},
            "remote is: its copy is failed",
        ),
        ({"acts": "writes wait"}, "remote is behind: writes wait"),
    ],
)
async def test_status_shows_what_a_copy_proves(
    coordinator: Coordinator, drsync: Drsync, remote: Json, words: str
) -> None:
    coordinator.answer("GET", "/v1/status", status(**remote))
    assert words in (await drsync("status")).out


async def test_status_shows_how_far_a_center_is_that_is_brought_level_by_blocks(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    session = {
        "state": "copying", "mode": "dirty", "bytes": 12 << 20, "bytes_total": 80 << 20,
        "rate": 3 << 20, "eta_s": 22.7, "rounds": 1,
    }  # fmt: skip
    coordinator.answer("GET", "/v1/status", status(resync=session))
    shown = " ".join((await drsync("status")).out.split())
    assert "remote is brought level by blocks: marked blocks are sent, 12 MiB of 80 MiB sent" in shown
    assert "3 MiB a second, about 23 s left, round 2" in shown


async def test_status_shows_a_recovery_that_will_take_too_long_and_a_budget_that_burns(
    coordinator: Coordinator, drsync: Drsync
) -> None:
    coordinator.answer("GET", "/v1/status", status(rpo_standing="ok", rpo_proved_s=1.0))
    shown = " ".join((await drsync("status")).out.split())
    assert "predicted to take 6 min 40 s OVER the target of 5 min, measured by the drill at remote" in shown
    assert "without service 3 min 20 s of 4 min 19 s allowed in 30 days (99.99 %)" in shown
    assert "used its budget 1,234 times as fast" in shown


@pytest.mark.parametrize(("share", "text"), [(1.0, "100 %"), (0.9999, "99.99 %"), (0.99999999, "99.99999 %")])
def test_all_of_it_is_said_only_of_all_of_it(share: float, text: str) -> None:
    assert _percent(share) == text
