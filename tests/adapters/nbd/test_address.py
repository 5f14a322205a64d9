"""NBD URIs, as other tools write and read them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.adapters.nbd.address import Address, make_uri, parse_uri
from drsync.model.errors import UsageError


def test_a_uri_reads_like_one() -> None:
    assert (
        make_uri("orders/data", Path("/run/drsync/nbd.sock"))
        == "nbd+unix:///orders/data?socket=/run/drsync/nbd.sock"
    )
    assert parse_uri("nbd://127.0.0.1/orders/data") == Address("orders/data", host="127.0.0.1", port=10809)
    assert parse_uri("nbd://[::1]:7/") == Address("", host="::1", port=7)


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_any_name_and_path_survive(name: str, path: str) -> None:
    socket = Path("/run") / path
    assert parse_uri(make_uri(name, socket)) == Address(name, socket)


@pytest.mark.parametrize(
    "uri",
    ["", "nbd+unix:///x", "nbd+unix:///x?socket=a&socket=b", "nbds://host/x", "nbd:///x", "nbd://h:port/x"],
)
def test_anything_else_is_refused_with_the_right_form(uri: str) -> None:
    with pytest.raises(UsageError):
        parse_uri(uri)
