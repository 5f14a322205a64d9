"""Opening a database of ours, one way for all: claim it, know it again or create it, say what is wrong."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from drsync.adapters.sqlite.place import Place
from drsync.model.errors import PermanentError, RefusedError


@dataclass(frozen=True, slots=True)
class Format:
    """What is in the database, and the words for what may be wrong with it.

    Attributes:
        application: SQLite's application id, so that another program's file is recognised.
        version: of the schema.
        schema: statements, each ended by ``;`` and a line break.
        what: it is, after "cannot be used as".
        code: of its errors, before ``_foreign`` and ``_damaged``.
        user: whom to stop when it is in use.
        remedy: for a damaged one.
        is_checked: looked through for damage when it is opened; not where that takes long.
    """

    application: int
    version: int
    schema: str
    what: str
    code: str
    user: str
    remedy: str
    is_checked: bool = True


def _nothing(_connection: sqlite3.Connection) -> None:
    """Nothing more is needed in a new database."""


def open_database(
    place: Place, form: Format, first: Callable[[sqlite3.Connection], None] = _nothing
) -> sqlite3.Connection:
    """Open or create; `first` adds to a new database, in the transaction that creates it.

    Raises:
        RefusedError: another process uses it.
        PermanentError: it is not ours, of a newer drsync, or damaged.
    """
    connection: sqlite3.Connection | None = None
    try:
        connection = place.connect()
        _prepare(connection, place.name, form, first)
        place.protect()
    except BaseException as error:
        if connection is not None:
            connection.close()
        if isinstance(error, sqlite3.DatabaseError):
            raise trouble(place, form, error) from error
        raise
    return connection


def trouble(place: Place, form: Format, error: sqlite3.Error) -> RefusedError | PermanentError:
    """What SQLite says, as the error of ours that people are told."""
    if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
        return RefusedError(
            f"{place.name} is used by another process", code="in_use", remedy=f"Stop the other {form.user}."
        )
    return PermanentError(
        f"{place.name} cannot be used as {form.what}: {error}",
        code=f"{form.code}_damaged",
        remedy=form.remedy,
    )


def _prepare(
    connection: sqlite3.Connection, name: str, form: Format, first: Callable[[sqlite3.Connection], None]
) -> None:
    run = connection.execute
    run("BEGIN IMMEDIATE")  # takes the lock now rather than at the first change
    application, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    is_blank = (application, version) == (0, 0) and not run("SELECT name FROM sqlite_master").fetchall()
    run("COMMIT")
    if is_blank:
        _create(connection, form, first)
    elif application != form.application:
        raise PermanentError(f"{name} is a database of another program", code=f"{form.code}_foreign")
    elif version != form.version:
        raise PermanentError(
            f"{name} has schema {version}, this drsync knows {form.version}",
            code="version",
            remedy="Use the drsync that wrote it, or a newer one.",
        )
    if form.is_checked and not is_blank:
        [(verdict,)] = run("PRAGMA quick_check(1)").fetchall()
        if verdict != "ok":
            raise sqlite3.DatabaseError(str(verdict))


def _create(
    connection: sqlite3.Connection, form: Format, first: Callable[[sqlite3.Connection], None]
) -> None:
    run = connection.execute
    run("BEGIN IMMEDIATE")
    for statement in form.schema.split(";\n"):
        run(statement)
    first(connection)
    run(f"PRAGMA application_id = {form.application}")
    run(f"PRAGMA user_version = {form.version}")
    run("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    [(value,)] = connection.execute(f"PRAGMA {name}").fetchall()
    return int(value)
