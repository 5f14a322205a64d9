"""docs/state-machines.md says what the tables in the code say."""

import runpy
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_page_is_what_the_tables_say() -> None:
    made: Callable[[], str] = runpy.run_path(str(ROOT / "scripts" / "state_machines.py"))["render"]
    page = (ROOT / "docs" / "state-machines.md").read_text()
    assert page == made(), "run `make state-machines` and read the difference"
