"""The start token: what a restored snapshot takes back."""

from pathlib import Path

import pytest

from drsync.agent.start_token import StartToken
from drsync.model.errors import FailedCopyError


def test_a_token_survives_a_restart(tmp_path: Path) -> None:
    assert StartToken(tmp_path).value == 0
    StartToken(tmp_path).keep(7)
    assert StartToken(tmp_path).value == 7


def test_a_damaged_token_is_no_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "start-token").write_text("seven", encoding="ascii")
    with pytest.raises(FailedCopyError, match="start-token"):
        StartToken(tmp_path)


def test_a_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    token = StartToken(tmp_path / "gone")
    with pytest.raises(FailedCopyError, match="cannot write"):
        token.keep(1)
