"""Machines for the stories: made once for all of them, or a reason why there are none here."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import machines as make
from tests.machines.machines import CACHE, Machines

# Shorter than they are shipped, so that a story of a hanging process ends sooner, and still longer than the
# slowest honest round (a dial that nobody answers, and the pause after it). What they do is the same.
SHORT = {name: {"WatchdogSec": "15s", "TimeoutAbortSec": "1s"} for name in ("same_city", "coordinator")}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Machines are booted when they are asked for (make machines): it takes minutes."""
    if "machines" not in str(config.getoption("markexpr")):
        left_out = [item for item in items if item.get_closest_marker("machines") is not None]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def installed() -> Iterator[Machines]:
    """Four booted machines after the install script; keys are not exchanged, nothing is started."""
    reason = make.missing()
    if reason:
        pytest.skip(f"no machines here: {reason}")
    kept = os.environ.get(CACHE)
    with tempfile.TemporaryDirectory(prefix="drsync-machines.") as scratch:
        cache = Path(kept or scratch)
        cache.mkdir(parents=True, exist_ok=True)
        try:
            base = make.base_root(cache)
            bundle = make.make_bundle(Path(scratch) / "bundle")
        except OSError as error:
            pytest.skip(f"no machines here: {error}")
        with make.machines(Path(scratch) / "m", base, bundle) as cluster:
            cluster.install_all()
            for name, settings in SHORT.items():
                make.shorten(cluster[name], settings)
            yield cluster
