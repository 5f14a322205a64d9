"""Errors carry a class and evidence.

The class decides what happens next: a `Transient` error is retried, a `Permanent` one is shown, a
`Refused` one means that drsync said no for safety and nothing was changed, a `Malformed` one means that
a peer or a file broke a format. Anything else that escapes is a bug and stops the group it happened in.
"""


class DrsyncError(Exception):
    """Base of all errors that drsync raises on purpose.

    Attributes:
        code: short stable identifier for machines, e.g. ``stale_epoch``.
        remedy: what the reader can do, one sentence; may be empty.
    """

    code = "failed"

    def __init__(self, message: str, *, code: str | None = None, remedy: str = "") -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        self.remedy = remedy


class TransientError(DrsyncError):
    """Not reached, timed out, busy: the same call may succeed later."""

    code = "not_reached"


class PermanentError(DrsyncError):
    """Will fail again until somebody changes something."""


class NoSpaceError(PermanentError):
    """A full disk took nothing more. Nothing that was promised is lost: it goes on when there is space."""

    code = "no_space"

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy="free space there; it goes on by itself")


class RefusedError(DrsyncError):
    """drsync said no for safety; nothing was changed."""

    code = "refused"


class MalformedError(DrsyncError):
    """Bytes that do not follow their format; says which field and where."""

    code = "malformed"


class FailedCopyError(DrsyncError):
    """A write or fsync error on a copy: that copy is FAILED from now on and is never retried."""

    code = "copy_failed"


class DamagedError(FailedCopyError):
    """A journal gives back other bytes than were written to it: what was asked for is not given.

    Attributes:
        locator: of a byte of the damaged batch (`drsync.ports.journal.Locator`); 0: not known.
    """

    code = "corrupt_journal"

    def __init__(self, message: str, locator: int = 0) -> None:
        super().__init__(message, remedy="repair this copy from another center")
        self.locator = locator


class StartDamageError(FailedCopyError):
    """A start found durable records damaged or gone; nothing was cut, and another center has them.

    Attributes:
        good: the last record before the damage.
        durable: records up to here were durable.
    """

    code = "corrupt_journal"

    def __init__(self, message: str, good: int, durable: int) -> None:
        super().__init__(message, remedy="repair this copy from another center")
        self.good = good
        self.durable = durable


class UsageError(DrsyncError):
    """The caller asked for something that does not exist or is written wrongly (exit 2)."""

    code = "usage"
