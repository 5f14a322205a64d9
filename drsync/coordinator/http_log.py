"""What the HTTP library logs: rubbish from a stranger is one line about the stranger, not a crash of ours."""

import logging

from aiohttp.http_exceptions import HttpProcessingError
from typing_extensions import override

LOGGER = "aiohttp.server"


class StrangersMistake(logging.Filter):
    """Turns the traceback of a malformed request into one line; everything else passes as it is."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.levelno, record.levelname = logging.INFO, "INFO"
            record.msg, record.args = f"malformed HTTP request: {type(error).__name__}", ()
            record.exc_info = record.exc_text = None
        return True


def calm() -> None:
    """Set it up; again is harmless."""
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(known, StrangersMistake) for known in logger.filters):
        logger.addFilter(StrangersMistake())
