"""What forms of control bodies are made of: their base, their limits, and reading one.

Nothing about any word of `drsync.model` may live here.
"""

from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from drsync.model.epoch import EPOCH_MAX
from drsync.model.errors import MalformedError
from drsync.model.position import CHAIN_BYTES

Json = dict[str, object]

_NAME_CHARACTERS_MAX: Final = 255
_TEXT_CHARACTERS_MAX: Final = 4096


def _hex_of_bytes(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else value


U64 = Annotated[int, Field(ge=0, le=EPOCH_MAX)]
Name = Annotated[str, Field(max_length=_NAME_CHARACTERS_MAX)]
Text = Annotated[str, Field(max_length=_TEXT_CHARACTERS_MAX)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Chain = Annotated[
    str,
    BeforeValidator(_hex_of_bytes),
    Field(pattern=r"^[0-9a-f]*$", min_length=2 * CHAIN_BYTES, max_length=2 * CHAIN_BYTES),
]


class Message(BaseModel):
    """Base of every form: strict, frozen, unknown fields ignored."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, from_attributes=True)

    def fields(self) -> Json:
        """What `dump` takes."""
        return self.model_dump(mode="json")


M = TypeVar("M", bound=Message)


def parse(form: type[M], body: object) -> M:
    """`body` checked against `form`.

    Raises:
        MalformedError: names the first fields that are wrong.
    """
    try:
        return form.model_validate(body)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'body'}: {one['msg']}"
            for one in error.errors(include_url=False, include_input=False)[:3]
        )
        raise MalformedError(f"{form.__name__}: {wrong}") from error
