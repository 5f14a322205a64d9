"""The profiles that are shipped: their text, and what is to be filled into them.

A profile is a file of the usual kind in which some texts hold a place to be filled in, written ``<what>``.
In a checkout profiles lie in ``agents/``, in an installed wheel in ``drsync/profiles/``.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path

from drsync.config.problems import nearest
from drsync.config.toml_lines import Place
from drsync.model.errors import PermanentError, UsageError

PACKAGE = Path(__file__).resolve().parent.parent
PLACES = (PACKAGE / "profiles", PACKAGE.parent / "agents")  # installed; checkout

_BLANK = re.compile(r"<([a-z][a-z_0-9, ]*)[^<>\n]*>")
_BLANK_LINE = re.compile(r"^(?!\s*#).*$", re.MULTILINE)

CLUSTER = "id of the cluster"


class Profile(StrEnum):
    """What a machine is installed as; and the group, which is asked for later."""

    PRODUCTION = "production"
    SAME_CITY = "same-city"
    REMOTE = "remote"
    COORDINATOR = "coordinator"
    GROUP = "group"

    @property
    def file_name(self) -> str:
        """How the file is called where it is installed."""
        return f"{self}.toml" if self in {Profile.COORDINATOR, Profile.GROUP} else "agent.toml"


def address_of(process: str) -> str:
    """The blank for the address of a center or of the coordinator."""
    return f"address of {process}"


def directory() -> Path:
    """Where profiles, units and scripts lie.

    Raises:
        PermanentError: this installation has none.
    """
    for place in PLACES:
        if (place / Profile.COORDINATOR / Profile.COORDINATOR.file_name).is_file():
            return place
    raise PermanentError(
        "this installation of drsync has no profiles",
        code="no_profiles",
        remedy="Install the wheel, or run it from a whole checkout.",
    )


def read(profile: Profile) -> str:
    """The text of a profile, blanks and comments included.

    Raises:
        PermanentError: there are no profiles, or it cannot be read.
    """
    path = directory() / profile / profile.file_name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PermanentError(f"cannot read the profile {path}: {error.strerror}") from error


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with every blank filled that `values` has a word for; the others stay.

    Raises:
        UsageError: a value is for no blank, or cannot be written between quotes.
    """
    known = sorted(set(_blanks(text)))
    for blank, value in values.items():
        if blank not in known:
            meant = nearest(blank, known)
            raise UsageError(
                f"there is no <{blank}> here", remedy=f"Did you mean <{meant}>?" if meant else ""
            )
        if not value or any(char in '"\\<>' or not char.isprintable() for char in value):
            raise UsageError(f"{value!r} cannot be the {blank}")

    def line(found: re.Match[str]) -> str:
        return _BLANK.sub(lambda blank: values.get(_noun(blank), blank[0]), found[0])

    return _BLANK_LINE.sub(line, text)


def unfilled(document: Mapping[str, object]) -> Iterator[tuple[Place, str]]:
    """The places in a document that still hold a blank, and what belongs there."""
    for place, text in _texts(document, ()):
        missing = [found[0].strip("<>") for found in _BLANK.finditer(text)]
        if missing:
            yield place, f"is not filled in yet; write the {' and the '.join(missing)}"


def _blanks(text: str) -> Iterator[str]:
    for line in _BLANK_LINE.finditer(text):
        yield from map(_noun, _BLANK.finditer(line[0]))


def _noun(blank: re.Match[str]) -> str:
    """What a blank asks for, without the example behind the comma."""
    return blank[1].partition(",")[0].strip()


def _texts(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, (*place, str(key)))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _texts(inner, (*place, index))
