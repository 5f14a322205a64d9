"""A short directory for each proof, cleaned up as in tests/integration."""

from pathlib import Path

import pytest

from tests.integration.conftest import home as closed_home

__all__ = ["closed_home", "home"]


@pytest.fixture
def home(closed_home: Path) -> Path:
    """One that a database server may pass through, which is not root and has its socket below it."""
    closed_home.chmod(0o711)
    return closed_home
