"""A short directory for each story, and nothing of it left behind: no process, no mount, no loop device."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.lab import processes, record
from drsync.lab.layout import Layout
from tests.integration import disks


@pytest.fixture
def home() -> Iterator[Path]:
    """Where a story takes place. Cleans up even when the story was cut short by its deadline."""
    folder = Path(tempfile.mkdtemp(prefix="ds-", dir="/tmp"))
    try:
        yield folder
    finally:
        disks.release_all(folder)
        for path in folder.rglob("lab.json"):
            known = record.load(path)
            for process in known.processes.values() if known else ():
                processes.send(process, signal.SIGKILL)
                processes.collect(process)
            shutil.rmtree(Layout(path.parent).run_root, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
