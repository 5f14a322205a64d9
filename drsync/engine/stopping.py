"""A loop that retries must still end when it is told to."""

import asyncio


def end_if_cancelled() -> None:
    """Raise CancelledError if the running task was cancelled and the word got lost.

    A TaskGroup whose child fails at the moment its own task is cancelled raises the child's error alone. To be
    called where such errors are caught and something is tried again.

    Raises:
        asyncio.CancelledError: the task was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
