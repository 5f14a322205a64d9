"""An image in a file without a name: nobody else can open it, and no crash leaves it behind."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from typing_extensions import override

from drsync.adapters.images.file_image import FileImage
from drsync.adapters.images.files import Files


class UnnamedImage(FileImage):
    """`FileImage` without durability: its name is removed as soon as it is open, its space when it is closed.

    Args:
        path: a name that nothing has; its directory exists.
        size: bytes.
        unlink: removes a name.
        files: system calls, replaced by tests.

    Raises:
        FailedCopyError, NoSpaceError: it cannot be made.
    """

    def __init__(
        self, path: Path, size: int, unlink: Callable[[Path], None], files: Files | None = None
    ) -> None:
        self._unlink = unlink
        super().__init__(path, size, files)

    @override
    def _open(self) -> None:
        self._fd = self._files.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        with suppress(FileNotFoundError):  # another one that was made at the same time has tidied up
            self._unlink(self._path)
        self._files.truncate(self._fd, self._size)
        self._may_be_direct = False  # because that is opened by a name, and this has none any more
