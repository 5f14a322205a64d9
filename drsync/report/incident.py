"""The words of an incident that is told again, by language; what they say is computed elsewhere."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from drsync.report.messages import best


@cache
def words(lang: str) -> Mapping[str, str]:
    """The words in the language that fits best."""
    name = f"{best(lang)}.json"
    text = files("drsync.report").joinpath("languages", "incident", name).read_text("utf-8")
    found: dict[str, str] = json.loads(text)
    return found
