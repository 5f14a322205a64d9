"""A short directory for each story, cleaned up as in tests/integration."""

from tests.integration.conftest import home

__all__ = ["home"]
