"""A short directory for each proof, cleaned up as in tests/integration."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import home as closed_home
from tests.proofs import database

__all__ = ["closed_home", "home"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long forms are run when they are asked for (make proofs): they take minutes."""
    if "proofs" not in str(config.getoption("markexpr")):
        left_out = [item for item in items if item.get_closest_marker("proofs") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def home(closed_home: Path) -> Iterator[Path]:
    """One that a database server may pass through, which is not root and has its socket below it."""
    closed_home.chmod(0o711)
    yield closed_home
    database.kill_all(closed_home)
