"""How fast one bulk link is: batches in frames of 256 KiB between two processes, beside `ssh … cat`.

    python benchmarks/link_rate.py [--mib 512] [--runs 3] [--record-kib 4] [--json FILE]

frames          the receiver only cuts frames out of the stream
verify          it checks every batch as a replica does: chain, hashes, order
verify+append   it appends what it checked to a journal on disk, without waiting for the disk
append+sync     the same, synced in a thread every 32 MiB
append+trim     the same, and then trimmed: from the third segment on, files of trimmed ones are used again
ssh cat         OpenSSH with the same cipher: `ssh host 'cat >/dev/null' < file`, connected before

Every other row starts two new processes with new keys, joined on loopback by the SSH transport that centers
use. The clock runs from the first byte until the receiver has acknowledged the last one. Processor time is
that of the two ends by their own account; for ssh that of its client and of sshd with its children.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop
from _machine import MIB, drop_caches, medians, parser, write_json
from _sshd import CIPHER, cat, connection, find_sshd

from drsync.adapters.segments.journal import SegmentJournal
from drsync.adapters.segments.layout import Identity
from drsync.adapters.ssh.keys import generate_keypair
from drsync.adapters.ssh.peers import PeerKeys
from drsync.adapters.ssh.transport import SshTransport
from drsync.delta.batch import BatchBuilder, split, verify
from drsync.model.epoch import Epoch
from drsync.model.position import ORIGIN, Position
from drsync.ports.transport import Link, LinkKind
from drsync.wire import data
from drsync.wire.frames import Decoder, FrameType, encode_parts

FRAME_PAYLOAD = 256 << 10
EPOCH = Epoch((1 << 32) + 1)
STREAM = 1
OURS = ("frames", "verify", "verify+append", "append+sync", "append+trim")
SYNC_BYTES = 32 * MIB
PEER = "ssh cat"
SENDER, RECEIVER = "sender", "receiver"
GB = 1e9


@dataclass(frozen=True)
class Figure:
    """Medians over the runs. MB is 10^6 bytes of payload; processor seconds are per 10^9 bytes of it."""

    way: str
    mb_s: float
    send_cpu_s_per_gb: float
    receive_cpu_s_per_gb: float
    mb_s_runs: list[float]


def batches(total: int, record: int) -> list[bytes]:
    """Encoded batches of `record` byte writes, each as large as a frame, one continuing the other."""
    source = memoryview(os.urandom(4 * MIB))
    builder, tip, made = BatchBuilder(), ORIGIN, []
    for number in range(total // FRAME_PAYLOAD):
        builder.reset(EPOCH, tip.seq + 1, tip.chain)
        start = number * FRAME_PAYLOAD % len(source)
        for at in range(start, start + FRAME_PAYLOAD, record):
            builder.add_write(1, at, source[at : at + record], 0)
        batch = builder.finish(number + 1)
        made.append(b"".join(batch.parts))
        tip = batch.end
    return made


class Receiving:
    """The receiving end; acknowledges once, when everything arrived."""

    def __init__(self, link: Link, way: str, frames: int, journal: SegmentJournal | None) -> None:
        self.done = asyncio.Event()
        self._link = link
        self._is_checked = way != "frames"
        self._missing = frames
        self._journal = journal
        self._is_trimmed = way == "append+trim"
        self._sync_at = SYNC_BYTES if way.startswith("append+") else 1 << 60
        self._appended = 0
        self._syncing: asyncio.Future[int] | None = None
        self._decoder = Decoder()
        self._tip: Position = ORIGIN
        link.set_handler(self)

    def data_received(self, data_: bytes | memoryview) -> None:
        for frame in self._decoder.feed(data_):
            self._missing -= 1
            if self._is_checked:
                self._check(frame.body)
        if not self._missing:
            ack = data.Ack(EPOCH, self._tip.seq, 0, 0, self._tip.chain)
            self._link.write(encode_parts(FrameType.ACK, [data.encode_ack(ack)], stream=STREAM))
            self._missing = -1
            self.done.set()

    def _check(self, body: bytes) -> None:
        _, view = data.read_batches(body)
        for at, header in split(view):
            position = verify(view, at, header, self._tip)
            if self._journal is not None:
                self._journal.append([view[at : at + header.length]], header.first_seq, position)
                self._appended += header.length
                if self._appended >= self._sync_at:
                    self._sync(self._journal)
            self._tip = position

    def _sync(self, journal: SegmentJournal) -> None:
        if self._syncing is None or self._syncing.done():
            self._sync_at = self._appended + SYNC_BYTES
            if self._is_trimmed:
                journal.trim(journal.durable_seq)
            self._syncing = asyncio.get_running_loop().run_in_executor(None, journal.sync)

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def connection_lost(self, reason: str) -> None:
        self.done.set()


class Sending:
    """The sending end: writes until it is told to pause, and goes on when it may."""

    def __init__(self, link: Link, made: list[bytes]) -> None:
        self.acknowledged = asyncio.Event()
        self.reason = ""
        self._link = link
        self._made = iter(made)
        self._is_paused = False
        link.set_handler(self)

    def pump(self) -> None:
        head = data.batches_header(data.BatchesHeader(EPOCH, 0, 0, 1))
        while not self._is_paused and (batch := next(self._made, None)) is not None:
            self._link.write(encode_parts(FrameType.BATCHES, [head, batch], stream=STREAM))

    def data_received(self, data_: bytes | memoryview) -> None:
        self.acknowledged.set()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self.pump()

    def connection_lost(self, reason: str) -> None:
        self.reason = reason
        self.acknowledged.set()


def transport(room: Path, me: str, port: int = 0) -> SshTransport:
    """The transport of one end, its peer's keys pinned."""
    other = RECEIVER if me == SENDER else SENDER
    public = {name: (room / f"{name}.pub").read_text() for name in (f"{other}.host", f"{other}.client")}
    pins = PeerKeys(("127.0.0.1", port), public[f"{other}.host"], public[f"{other}.client"])
    return SshTransport(
        me=me,
        host_key=room / f"{me}.host",
        client_key=room / f"{me}.client",
        listen=("127.0.0.1", 0),
        peers={other: pins},
    )


async def receive(room: Path, way: str, frames: int) -> None:
    """The receiver: says its port, takes everything, says its processor time."""
    journal = None
    if "append" in way:
        journal = SegmentJournal(room / "journal", Identity("bench", "g" * 32, RECEIVER, "1"), 0)
    arrived: asyncio.Future[Receiving] = asyncio.get_running_loop().create_future()
    began = 0.0

    def accept(link: Link) -> None:
        nonlocal began
        began = time.process_time()
        arrived.set_result(Receiving(link, way, frames, journal))

    ssh = transport(room, RECEIVER)
    address = await ssh.listen(accept)
    print(address.rpartition(":")[2], flush=True)
    end = await arrived
    await end.done.wait()
    print(json.dumps({"cpu_s": time.process_time() - began}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await ssh.close()


async def send(room: Path, port: int, mib: int, record: int) -> None:
    """The sender: everything is made before the clock starts."""
    made = batches(mib * MIB, record)
    ssh = transport(room, SENDER, port)
    end = Sending(await ssh.connect(RECEIVER, LinkKind.BULK), made)
    began, cpu = time.monotonic(), time.process_time()
    end.pump()
    await end.acknowledged.wait()
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    if end.reason:
        raise SystemExit(f"the link ended: {end.reason}")
    print(json.dumps({"seconds": took, "cpu_s": cpu}), flush=True)
    await ssh.close()


def ours(way: str, options: argparse.Namespace) -> dict[str, float]:
    """One run between two new processes."""
    with tempfile.TemporaryDirectory(prefix="drsync-bench-", dir=options.dir) as folder:
        room = Path(folder)
        for name in (f"{end}.{kind}" for end in (SENDER, RECEIVER) for kind in ("host", "client")):
            (room / f"{name}.pub").write_text(generate_keypair(room / name))
        me = [sys.executable, __file__, "--room", str(room), "--mib", str(options.mib)]
        me += ["--record-kib", str(options.record_kib), "--way", way]
        receiver = subprocess.Popen(
            [*me, "--role", RECEIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with receiver:
            try:
                assert receiver.stdout is not None
                port = receiver.stdout.readline().strip()
                done = subprocess.run(
                    [*me, "--role", SENDER, "--port", port], stdout=subprocess.PIPE, text=True, check=True
                )
                sent, received = json.loads(done.stdout), json.loads(receiver.stdout.readline())
            finally:
                if receiver.stdin is not None:
                    receiver.stdin.close()
                receiver.terminate()
    return shares(options.mib * MIB, sent["seconds"], sent["cpu_s"], received["cpu_s"])


def shares(payload: int, seconds: float, send_cpu: float, receive_cpu: float) -> dict[str, float]:
    return {
        "mb_s": payload / seconds / 1e6,
        "send_cpu_s_per_gb": send_cpu / payload * GB,
        "receive_cpu_s_per_gb": receive_cpu / payload * GB,
    }


def theirs(options: argparse.Namespace, sshd: str) -> dict[str, float]:
    """One run of `ssh … cat`."""
    with tempfile.TemporaryDirectory(prefix="drsync-bench-", dir=options.dir) as folder:
        room = Path(folder)
        content = room / "content"
        with content.open("wb") as file:
            for _ in range(options.mib):
                file.write(os.urandom(MIB))
        with connection(room, sshd) as way:
            return shares(options.mib * MIB, *cat(way, content))


def table(figures: list[Figure]) -> str:
    lines = [f"{'way':<15}{'MB/s':>7}{'least':>7}{'most':>7}{'sender s/GB':>13}{'receiver s/GB':>15}"]
    lines += [
        f"{f.way:<15}{f.mb_s:>7.0f}{min(f.mb_s_runs):>7.0f}{max(f.mb_s_runs):>7.0f}"
        f"{f.send_cpu_s_per_gb:>13.2f}{f.receive_cpu_s_per_gb:>15.2f}"
        for f in figures
    ]
    return "\n".join(lines)


def compare(options: argparse.Namespace) -> list[Figure]:
    """All ways, taking turns."""
    found: dict[str, list[dict[str, float]]] = {}
    sshd = find_sshd()
    if sshd is None:
        print("sshd is not installed (openssh-server): without `ssh cat` there is nothing to compare with")
    for _ in range(options.runs):
        for way in OURS:
            drop_caches()
            found.setdefault(way, []).append(ours(way, options))
        if sshd is not None:
            drop_caches()
            found.setdefault(PEER, []).append(theirs(options, sshd))
    return [
        Figure(way, **medians(runs), mb_s_runs=[run["mb_s"] for run in runs]) for way, runs in found.items()
    ]


def main() -> None:
    own = parser(__doc__, seconds=0.0, runs=3)
    own.add_argument("--mib", type=int, default=512, help="payload of each run; --seconds means nothing here")
    own.add_argument("--record-kib", type=int, default=4, help="size of the writes in the batches")
    for hidden in ("--role", "--way", "--room"):
        own.add_argument(hidden, help=argparse.SUPPRESS)
    own.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = own.parse_args()
    if options.role:
        room = Path(options.room)
        # The parent ends its children with Ctrl-C's signal once it has what it measured.
        with (
            contextlib.suppress(KeyboardInterrupt),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            if options.role == RECEIVER:
                runner.run(receive(room, options.way, options.mib * MIB // FRAME_PAYLOAD))
            else:
                runner.run(send(room, options.port, options.mib, options.record_kib << 10))
        return
    figures = compare(options)
    print(f"{options.mib} MiB each in writes of {options.record_kib} KiB; cipher {CIPHER}")
    print(table(figures))
    write_json(options, [asdict(f) for f in figures])


if __name__ == "__main__":
    main()
