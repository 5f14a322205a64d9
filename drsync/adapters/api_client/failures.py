"""Exit codes, and the error that a coordinator's answer stands for."""

from drsync.model.errors import DrsyncError, PermanentError, RefusedError, TransientError, UsageError

DONE = 0
FAILED = 1
USAGE = 2
REFUSED = 3
NOT_REACHED = 4
WAITING_FOR_APPROVAL = 5


class ApprovalError(DrsyncError):
    """The coordinator keeps the request until somebody else approves it."""

    code = "waiting_for_approval"


_BY_EXIT: dict[int, type[DrsyncError]] = {
    FAILED: PermanentError,
    USAGE: UsageError,
    REFUSED: RefusedError,
    NOT_REACHED: TransientError,
    WAITING_FOR_APPROVAL: ApprovalError,
}


def error_for(exit_code: int, message: str, code: str, remedy: str) -> DrsyncError:
    """The error that a coordinator's answer stands for."""
    return _BY_EXIT.get(exit_code, PermanentError)(message, code=code, remedy=remedy)


def exit_code(error: DrsyncError) -> int:
    """The exit code of a command that ends with `error`."""
    for code, kind in _BY_EXIT.items():
        if isinstance(error, kind):
            return code
    return FAILED
