"""The application of a proof: clients that insert numbered rows and note which were acknowledged."""

import subprocess
import threading
import time
from dataclasses import dataclass, field
from itertools import count

from tests.proofs.database import Database, environment, need

TABLE = "CREATE TABLE book (client int, number int, PRIMARY KEY (client, number))"
JOIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A commit as its client saw it.

    Attributes:
        client, number: what was inserted.
        asked, acknowledged: instants of this process's monotonic clock.
    """

    client: int
    number: int
    asked: float
    acknowledged: float

    @property
    def row(self) -> tuple[int, int]:
        return self.client, self.number


@dataclass(slots=True)
class Book:
    """What all clients did.

    Attributes:
        entries: acknowledged commits, in the order in which this process saw them.
        pending: what was asked for and is not answered.
    """

    entries: list[Entry] = field(default_factory=list)
    pending: set[tuple[int, int]] = field(default_factory=set)

    @staticmethod
    def found(server: Database) -> set[tuple[int, int]]:
        """What is in the table now."""
        return {
            (int(client), int(number)) for client, number in server.sql("SELECT client, number FROM book")
        }

    def lost(self, rows: set[tuple[int, int]]) -> list[Entry]:
        """Acknowledged commits that are not among `rows`."""
        return [entry for entry in self.entries if entry.row not in rows]

    def require_prefix(self, rows: set[tuple[int, int]]) -> None:
        """One instant left `rows`: with each commit, all that was acknowledged before it was asked for."""
        known = {entry.row: entry for entry in self.entries}
        strangers = rows - set(known) - self.pending
        assert not strangers, f"nobody wrote these: {sorted(strangers)[:10]}"
        newest = max((known[row].asked for row in rows if row in known), default=0.0)
        holes = [entry for entry in self.lost(rows) if entry.acknowledged < newest]
        assert not holes, f"missing, though later commits are there: {holes[:10]}"
        for client in sorted({client for client, _ in rows}):
            numbers = sorted(number for one, number in rows if one == client)
            assert numbers == list(range(1, len(numbers) + 1)), f"client {client} has gaps"


class Writers:
    """Clients at work; each ends with its server or when told. Their numbers begin with `first`."""

    def __init__(self, server: Database, clients: int, book: Book, first: int = 0) -> None:
        self.book = book
        self._server = server
        self._is_over = threading.Event()
        self._clients = [psql(server) for _ in range(clients)]
        self._threads = [
            threading.Thread(target=self._write, args=pair) for pair in enumerate(self._clients, first)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, client: int, process: "subprocess.Popen[str]") -> None:
        """The next number is sent when the one before was acknowledged."""
        for number in count(1):
            row = (client, number)
            self.book.pending.add(row)
            asked = time.monotonic()
            if self._is_over.is_set() or not answers(
                process, f"INSERT INTO book VALUES ({client}, {number});"
            ):
                return
            self.book.entries.append(Entry(client, number, asked, time.monotonic()))
            self.book.pending.discard(row)

    def end(self) -> None:
        """No more; also when a server never answers."""
        self._is_over.set()
        for process, thread in zip(self._clients, self._threads, strict=True):
            process.kill()
            thread.join(JOIN_S)
            process.communicate()


def psql(server: Database) -> "subprocess.Popen[str]":
    """A client that reads statements and prints a line for each."""
    words = [word for word in server.client() if word != "-q"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [need("psql"), *words],
        env=environment(),
        stdin=pipe,
        stdout=pipe,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def answers(process: "subprocess.Popen[str]", statement: str) -> bool:
    """Whether an INSERT was acknowledged."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(statement + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip() == "INSERT 0 1"
    except OSError:
        return False
