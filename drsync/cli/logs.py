"""Where log lines go and how they look: for people on a terminal, JSON lines for machines.

Every line names what it is about: ``group``, ``center``, ``epoch``, ``reason``. Text from a peer never
reaches a terminal or a log unescaped (P69).
"""

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping

import structlog

from drsync.cli.text import clean
from drsync.config.options import LogFormat, LogOptions

LEADING = ("group", "center", "epoch", "reason")
TEXT_MAX = 4000  # because a line of a journal should stay readable, and a peer could send a megabyte

Event = MutableMapping[str, object]

_COLORS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31;1m"}
_RESET = "\x1b[0m"


def set_up(options: LogOptions) -> None:
    """Send the log of this process to stderr, in the form that fits who reads it."""
    as_json = is_for_machines(options.format)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        escape,
    ]
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else ForPeople(sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[options.level.upper()]
        ),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, leading_first, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(options.level.upper())
    for library in ("asyncssh", "aiohttp", "asyncio"):  # they say at info what we say better
        logging.getLogger(library).setLevel(logging.WARNING)


def is_for_machines(form: LogFormat, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether lines are JSON: asked for, under systemd, or whenever stderr is not a terminal."""
    if form is LogFormat.AUTO:
        under_systemd = "INVOCATION_ID" in environment or "JOURNAL_STREAM" in environment
        return under_systemd or not sys.stderr.isatty()
    return form is LogFormat.JSON


def escape(logger: object, method: str, event: Event) -> Event:
    """Control characters in texts are written out, and long texts cut."""
    del logger, method
    for key, value in event.items():
        if isinstance(value, str):
            text = clean(value, keep_lines=key == "exception")
            event[key] = text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"
    return event


def leading_first(logger: object, method: str, event: Event) -> Event:
    """Time, level, event and what it is about come first, in one order."""
    del logger, method
    order = ("timestamp", "level", "event", *LEADING)
    return {key: event[key] for key in order if key in event} | {
        key: value for key, value in event.items() if key not in order
    }


class ForPeople:
    """``04:55:12 warning  peer lost  orders@same_city epoch 3: no answer for 5 s``."""

    def __init__(self, is_colored: bool) -> None:
        self._is_colored = is_colored

    def __call__(self, logger: object, method: str, event: Event) -> str:
        """One line, and an exception's lines after it."""
        del logger, method
        fields = dict(event)
        time = str(fields.pop("timestamp", ""))[11:19]
        level = str(fields.pop("level", "info"))
        what = str(fields.pop("event", "")).replace("_", " ")
        exception = fields.pop("exception", None)
        about = "@".join(str(fields.pop(key)) for key in ("group", "center") if fields.get(key))
        epoch = fields.pop("epoch", None)
        reason = fields.pop("reason", None)
        rest = " ".join(f"{key}={value}" for key, value in fields.items() if value not in {"", None})
        line = f"{time} {level:7} {about}{f' epoch {epoch}' if epoch else ''}{': ' if about else ''}{what}"
        line += f": {reason}" if reason else ""
        line += f"  ({rest})" if rest else ""
        line += f"\n{exception}" if exception else ""
        color = _COLORS.get(level, "") if self._is_colored else ""
        return f"{color}{line}{_RESET}" if color else line
