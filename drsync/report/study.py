"""The words of the availability study, by language; what they say is computed elsewhere."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from drsync.report.messages import best


@cache
def words(lang: str) -> Mapping[str, str]:
    """The words in the language that fits best."""
    name = f"{best(lang)}.json"
    text = files("drsync.report").joinpath("languages", "availability", name).read_text("utf-8")
    found: dict[str, str] = json.loads(text)
    return found
