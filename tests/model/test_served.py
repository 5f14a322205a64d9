"""What an owner says of its exports."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.model import served
from drsync.model.epoch import EPOCH_MAX, NEVER, Epoch
from drsync.model.served import Served


@given(st.integers(1, EPOCH_MAX), st.data())
def test_what_is_said_is_understood(epoch: int, data: st.DataObject) -> None:
    said = Served(Epoch(epoch), Epoch(data.draw(st.integers(0, epoch))))
    assert served.parse("data", "orders", served.describe("data", "orders", said)) == said


def test_people_can_read_it_too() -> None:
    text = served.describe("data", "orders", Served(Epoch(7), NEVER))
    assert text == "volume data of group orders; epoch=7 lost_in=0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a disk",
        "volume data of group orders",
        "volume data of group orders; epoch=7",
        "volume data of group orders; epoch=7 lost_in=",
        "volume data of group orders; epoch=0 lost_in=0",
        "volume data of group orders; epoch=7 lost_in=8",
        "volume data of group orders; epoch=99999999999999999999 lost_in=0",
        "volume data of group orders; epoch=\u0667 lost_in=0",
        "volume data of group orders; epoch=7 lost_in=0 and more",
        "volume data of group others; epoch=7 lost_in=0",
        "volume other of group orders; epoch=7 lost_in=0",
    ],
)
def test_anything_else_is_no_owner(text: str) -> None:
    assert served.parse("data", "orders", text) is None
