"""How a staged redo becomes the journal of a copy: renames that may be interrupted and done again.

In the directory of a copy ``journal/`` becomes ``journal.old/`` and ``stage/journal/`` becomes ``journal/``;
forks, which are records that somebody may still want, move along. Each rename is durable before the next, so
that a start can tell by the names how far it was.
"""

from pathlib import Path
from typing import Final

from drsync.adapters.stage.file_stage import REDO
from drsync.adapters.stage.files import Files, is_directory, remove_tree, sync_directory
from drsync.model.errors import FailedCopyError
from drsync.ports.copy_store import Adoption

JOURNAL: Final = "journal"
OLD: Final = "journal.old"
STAGE: Final = "stage"
FORKS: Final = "forks"


def progress(files: Files, directory: Path) -> Adoption:
    """How far it is, where a switch is recorded. Raises OSError."""
    has_redo = files.exists(directory / STAGE / REDO)
    has_journal, has_old = (files.exists(directory / name) for name in (JOURNAL, OLD))
    match has_redo, has_journal, has_old:
        case True, True, _:
            return Adoption.NOT_BEGUN
        case (True, False, True) | (False, True, True):
            return Adoption.BEGUN
        case False, True, False:
            return Adoption.DONE
        case _:
            return Adoption.IMPOSSIBLE


def adopt(files: Files, directory: Path) -> None:
    """Rename, as far as that is not done. Raises OSError, FailedCopyError."""
    redo, journal, old = directory / STAGE / REDO, directory / JOURNAL, directory / OLD
    if progress(files, directory) is Adoption.NOT_BEGUN:
        if files.exists(old):
            raise FailedCopyError(f"{old} is in the way", remedy="move it elsewhere, and start again")
        files.rename(journal, old)
    _sync(files, directory)  # also when it was renamed: whoever did may have died before
    if files.exists(redo):
        files.rename(redo, journal)
        _sync(files, directory)
    if files.exists(old / FORKS):
        if files.exists(journal / FORKS):
            raise FailedCopyError(f"{old / FORKS} and {journal / FORKS} are both there")
        files.rename(old / FORKS, journal / FORKS)
    sync_directory(files, journal)
    if files.exists(old):
        sync_directory(files, old)


def _sync(files: Files, directory: Path) -> None:
    if files.exists(directory / STAGE):
        sync_directory(files, directory / STAGE)
    sync_directory(files, directory)


def remove_old(files: Files, directory: Path) -> bool:
    """Remove what the journal was before; whether it is gone. Raises OSError.

    Never while it is the only journal, nor with forks in it.
    """
    old = directory / OLD
    if not files.exists(old):
        return True
    if not files.exists(directory / JOURNAL):
        return False
    if any(is_directory(files, old / name) for name in files.names(old)):
        return False
    remove_tree(files, old)
    sync_directory(files, directory)
    return True
