"""What the pages say, in each language: one JSON file per language, all with the same keys (by test)."""

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

LANGUAGES = ("en", "zh-CN")


def best(lang: str) -> str:
    """The language that fits best: ``zh`` and ``zh-...`` are Chinese, everything else English."""
    return "zh-CN" if lang.lower().split("-")[0] == "zh" else "en"


@cache
def table(language: str) -> Mapping[str, str]:
    """The messages of one of `LANGUAGES`."""
    text = files("drsync.report").joinpath("languages", f"{language}.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text)
    return found
