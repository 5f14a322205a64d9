"""Where a SQLite database is kept: a file, or whatever a simulated host has instead of files."""

import sqlite3
from pathlib import Path
from typing import Protocol


class Place(Protocol):
    """One database, for one process at a time."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def connect(self) -> sqlite3.Connection:
        """Connect, with every pragma that says how it is kept; create it empty when there is none.

        Raises:
            sqlite3.OperationalError: "... locked": another process uses it and shares it with nobody.
            sqlite3.DatabaseError: it is damaged.
        """
        ...

    def protect(self) -> None:
        """It is known to be ours by now: let nobody else read it."""
        ...

    def set_aside(self) -> None:
        """Keep what is there under another name; the next `connect` creates an empty one."""
        ...


class FilePlace:
    """A file with its write-ahead log."""

    def __init__(
        self,
        path: Path,
        *,
        is_exclusive: bool = True,
        is_always_synced: bool = True,
        is_for_threads: bool = False,
        statements: int = 256,
        cache_kib: int | None = None,
        log_bytes_kept: int | None = None,
    ) -> None:
        """Name a file; nothing is opened yet.

        Args:
            path: of the file; its directory is made if it is missing.
            is_exclusive: a second process is refused as long as the connection is open.
            is_always_synced: a commit is on disk when it returns; else it may be lost with the power.
            is_for_threads: used by several, one at a time.
            statements: that are kept compiled.
            cache_kib: size of the page cache; None: SQLite's usual one.
            log_bytes_kept: to which the write-ahead log is cut back; None: it keeps its largest size.
        """
        self.path = path
        self._is_exclusive = is_exclusive
        self._is_always_synced = is_always_synced
        self._is_for_threads = is_for_threads
        self._statements = statements
        self._cache_kib = cache_kib
        self._log_bytes_kept = log_bytes_kept

    @property
    def name(self) -> str:
        """See Place."""
        return str(self.path)

    def connect(self) -> sqlite3.Connection:
        """See Place."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path,
            isolation_level=None,
            timeout=0 if self._is_exclusive else 1,
            cached_statements=self._statements,
            check_same_thread=not self._is_for_threads,
        )
        try:
            self._tune(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _tune(self, connection: sqlite3.Connection) -> None:
        run = connection.execute
        if self._is_exclusive:
            run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run(f"PRAGMA synchronous = {'FULL' if self._is_always_synced else 'NORMAL'}")
        if self._cache_kib is not None:
            run(f"PRAGMA cache_size = -{self._cache_kib}")
        if self._log_bytes_kept is not None:
            run(f"PRAGMA journal_size_limit = {self._log_bytes_kept}")

    def protect(self) -> None:
        """See Place."""
        self.path.chmod(0o600)

    def set_aside(self) -> None:
        """See Place. Renamed to ``<name>.damaged``, in the place of what was put aside before."""
        for end in ("", "-wal", "-shm"):
            old = self.path.with_name(self.path.name + end)
            if old.exists():
                old.replace(self.path.with_name(f"{self.path.name}.damaged{end}"))
