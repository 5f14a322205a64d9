"""`drsync volume resize`: what is asked for, and what people read."""

import pytest

from tests.cli.conftest import Drsync, FakeCoordinator, Json

PATH = "/v1/groups/orders/volumes/data/resize"
GIB = 1 << 30


def center(name: str, **more: object) -> Json:
    word: Json = {"center": name, "why": None, "text": "", "size": 20 * GIB, "record": 77, "free": 90 * GIB}
    return word | {"is_committed": True, "owner": name == "production", "waived": False, **more}


def answer(**more: object) -> Json:
    names = ("production", "same_city", "remote")
    told: Json = {"group": "orders", "volume": "data", "former": 10 * GIB, "size": 20 * GIB, "record": 77}
    centers = [center(name) for name in names]
    return told | {"dry_run": False, "changed": True, "centers": centers, "waiting": [], **more}


async def test_what_is_asked_for_and_what_is_left_to_do(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    coordinator.answer("POST", PATH, answer())
    told = await drsync("volume", "resize", "orders/data", "--size", "20GiB", "--actor", "li")
    assert told.code == 0
    assert "orders/data has 20 GiB everywhere, from record 77 on" in told.out
    assert "resize2fs" in told.out
    (_, _, body), *_ = coordinator.asked
    assert body == {"size": 20 * GIB, "thin": False, "dry_run": False, "reason": "", "actor": "li"}


async def test_who_was_waived_is_named(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    away = center("remote", waived=True, size=0, record=0, why="not_reached", text="it is not connected")
    coordinator.answer("POST", PATH, answer(centers=[center("production"), away], waiting=["remote"]))
    words = ("volume", "resize", "orders/data", "--size", "20GiB", "--without", "remote", "--reason", "flood")
    told = await drsync(*words)
    assert "still to follow: remote" in told.out
    assert "waived: it is not connected" in told.out
    (_, _, body), *_ = coordinator.asked
    assert isinstance(body, dict)
    assert (body["without"], body["reason"]) == (["remote"], "flood")


async def test_a_dry_run_says_that_nothing_changed(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    coordinator.answer("POST", PATH, answer(dry_run=True, changed=False))
    told = await drsync("volume", "resize", "orders/data", "--size", "20GiB", "--dry-run")
    assert "may grow from 10 GiB to 20 GiB. Nothing was changed" in told.out


async def test_no_is_an_error_with_a_remedy(drsync: Drsync, coordinator: FakeCoordinator) -> None:
    coordinator.refuse("POST", PATH, 3, "remote is not connected", "--without remote")
    told = await drsync("volume", "resize", "orders/data", "--size", "20GiB")
    assert told.code == 3
    assert "--without remote" in told.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("orders", "--size", "20GiB"), "GROUP/VOLUME"),
        (("orders/data",), "--size"),
        (("orders/data", "--size", "much"), "is no size"),
    ],
)
async def test_mistakes_are_told_before_anything_is_asked(
    drsync: Drsync, coordinator: FakeCoordinator, words: tuple[str, ...], said: str
) -> None:
    told = await drsync("volume", "resize", *words)
    assert told.code == 2
    assert said in told.err
    assert coordinator.asked == []
