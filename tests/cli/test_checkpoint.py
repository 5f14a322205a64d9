"""`drsync checkpoint`: what is asked for, what people read, and with which exit code it ends."""

import pytest

from tests.cli.conftest import Drsync, FakeCoordinator, Json

PATH = "/v1/groups/orders/checkpoint"
MADE: Json = {
    "group": "orders",
    "name": "x",
    "seq": 1234,
    "time_us": 5,
    "app": True,
    "why": "",
    "freeze_ms": 42,
}
STEPS: list[Json] = [{"step": "program hold", "ok": True, "seconds": 0.25, "output": ""}]


async def test_a_plain_one_asks_for_no_hooks(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    coordinator.answer("POST", PATH, {"seq": 1234})
    told = await drsync("checkpoint", "orders", "--name", "noon")
    assert (told.code, told.out.strip()) == (0, "Recovery point noon of orders: record 1,234.")
    assert coordinator.asked[-1][2] == {"name": "noon"}


async def test_an_application_that_agreed_is_told_and_for_how_long_it_stood_still(
    drsync: Drsync, coordinator: FakeCoordinator
) -> None:
    coordinator.answer("POST", PATH, {**MADE, "steps": STEPS})
    told = await drsync("checkpoint", "orders", "--app-consistent", "--timeout", "45s")
    assert told.code == 0
    assert "record 1,234, consistent for the application; frozen for 42 ms." in told.out
    assert "program hold" in told.out
    assert coordinator.asked[-1][2] == {"name": "", "app_consistent": True, "timeout_s": 45.0}


@pytest.mark.parametrize(
    ("seq", "words"),
    [(1234, "record 1,234, consistent as after a crash only: too slow"), (0, "was made: too slow")],
)
@pytest.mark.parametrize("options", [(), ("--json",)])
async def test_without_its_word_the_command_fails_and_says_why(
    drsync: Drsync, coordinator: FakeCoordinator, seq: int, words: str, options: tuple[str, ...]
) -> None:
    coordinator.answer("POST", PATH, {**MADE, "seq": seq, "app": False, "why": "too slow", "steps": STEPS})
    told = await drsync("checkpoint", "orders", "--app-consistent", *options)
    assert told.code == 1
    assert ('"why": "too slow"' if options else words) in told.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--timeout", "5s"), "--timeout is about hooks"),
        (("--app-consistent", "--timeout", "3m"), "at most 2 min"),
        (("--app-consistent", "--timeout", "soon"), "--timeout: "),
    ],
)
async def test_a_time_that_cannot_be_meant_is_refused_before_anything_is_asked(
    drsync: Drsync, coordinator: FakeCoordinator, options: tuple[str, ...], words: str
) -> None:
    told = await drsync("checkpoint", "orders", *options)
    assert told.code == 2
    assert words in told.err
    assert not coordinator.asked
