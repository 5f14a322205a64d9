"""Isolated views served as volumes, for drills and for people: hold, serve, hash, probe, close."""

from dataclasses import asdict

from drsync.agent.exports import Sockets
from drsync.agent.opening_desk import Stores
from drsync.engine.member import Member
from drsync.engine.views import GroupView, Writes
from drsync.model.errors import PermanentError, RefusedError, TransientError, UsageError
from drsync.ports.clock import Clock

Json = dict[str, object]

EXT_MAGIC_AT = 1024 + 56
EXT_MAGIC = b"\x53\xef"
SETTLE_S = 10.0  # because a scan of a large tree takes seconds
CLONE_WAIT_S = 60.0  # because a remote center that is further behind is not ready for a drill
PROBE_BYTES = 128 << 10  # because file systems describe themselves in the first 64 KiB and a little
SIGNATURES = ((EXT_MAGIC_AT, EXT_MAGIC, "ext4"), (0, b"XFSB", "xfs"), (0x10040, b"_BHRfS_M", "btrfs"))
"""Where a file system leaves its mark: offset, bytes, name (the on-disk formats' own documentation)."""


class ViewDesk:
    """Views of all groups of an agent; `stores` keep what is written to them."""

    def __init__(self, sockets: Sockets, stores: Stores, clock: Clock) -> None:
        self._sockets = sockets
        self._stores = stores
        self._clock = clock

    async def checkpoint(self, member: Member, name: str, view_id: str | None, center: str) -> Json:
        """See `requests.ViewDesk`. The pin is set before anything later can be applied."""
        if member.term is None:
            raise RefusedError(
                f"{member.copy.me.center} does not own {member.copy.spec.name}", code="not_owner"
            )
        async with member.trees.standing(center, SETTLE_S):
            term = member.term
            if term is None:
                raise TransientError(f"{member.copy.me.center} lost the group meanwhile")
            position = term.checkpoint(name, is_app_consistent=False)
            mark = member.copy.checkpoints[-1]
            view = self._hold(member, view_id, position.seq) if view_id is not None else None
        if view is not None:
            await view.build()
        names = {fileset.index: fileset.name for fileset in member.copy.spec.filesets}
        return {
            "seq": position.seq,
            "time_us": mark.time_us,
            "epoch": position.epoch,
            "view": view_id,
            "trees": {names.get(tree.fileset, ""): tree.generation.number for tree in mark.trees},
        }

    async def open_view(self, member: Member, view_id: str, seq: int | None) -> Json:
        """See `requests.ViewDesk`."""
        points = member.copy.points()
        if seq is None:
            if not points:
                raise RefusedError(
                    f"{member.copy.me.center} has no recovery point of {member.copy.spec.name} yet",
                    code="no_such_point",
                    remedy="wait for the next checkpoint",
                )
            seq = points[-1].seq
        mark = next((p for p in points if p.seq == seq), None)
        if mark is None:
            raise RefusedError(
                f"record {seq} is no recovery point at {member.copy.me.center}",
                code="no_such_point",
                remedy="drsync points lists them",
            )
        view = self._hold(member, view_id, seq)
        await view.build()
        uris = await self._sockets.serve_view(view)
        answer: Json = {"id": view_id, "seq": seq, "time_us": mark.time_us, "volumes": uris}
        if mark.trees and member.term is None:
            wanted = {tree.fileset: (tree.generation, tree.digest) for tree in mark.trees}
            answer["trees"] = await member.trees.clone(view_id, wanted, CLONE_WAIT_S)
        return answer

    def _hold(self, member: Member, view_id: str, seq: int) -> GroupView:
        """Pin a position; asking again changes nothing."""
        if (known := member.views.find(view_id)) is not None:
            return known
        view = member.views.hold(view_id, seq)
        view.since_us = self._clock.wall_us()
        view.may_keep(Writes(make=self._stores(member.copy.spec.id).scratch))
        return view

    async def hash_view(self, member: Member, view_id: str) -> Json:
        """See `requests.ViewDesk`."""
        view = _found(member, view_id)
        hashes = await view.hash()
        proofs = await member.trees.prove(view_id)
        return {
            "volumes": hashes,
            "bytes": sum(v.size for v in view.spec.volumes),
            "seq": view.seq,
            "trees": {name: {**asdict(proof), "equal": proof.is_equal} for name, proof in proofs.items()},
        }

    async def probe_view(self, member: Member, view_id: str) -> Json:
        """See `requests.ViewDesk`: connect, read, name the file system, write a block and take it back."""
        view = _found(member, view_id)
        found: dict[str, str] = {}
        read = 0
        for name, uri in (await self._sockets.serve_view(view)).items():
            client = await self._sockets.connect(uri)
            try:
                head = await client.read(0, min(PROBE_BYTES, client.size))
                found[name] = filesystem_of(head)
                stamp = view_id.encode().ljust(4096, b"\0")
                last = client.size - len(stamp)
                before = await client.read(last, len(stamp))
                await client.write(last, stamp)
                if await client.read(last, len(stamp)) != stamp:
                    raise PermanentError(f"{name}: what was written to the view was not read back")
                await client.write(last, before)
                read += len(head) + len(stamp)
            finally:
                await client.close()
        return {
            "ok": True,
            "read_bytes": read,
            "filesystem": ", ".join(f or "no file system" for f in found.values()),
        }

    async def close_view(self, member: Member, view_id: str) -> Json:
        """See `requests.ViewDesk`. Closing twice removes nothing."""
        removed = await self._sockets.drop_view(view_id)
        removed += await member.trees.drop(view_id)
        if member.views.release(view_id):
            removed.append(f"view {view_id}")
        return {"removed": removed, "open": member.views.ids()}


def _found(member: Member, view_id: str) -> GroupView:
    view = member.views.find(view_id)
    if view is None:
        raise UsageError(f"view {view_id[:32]} is not open at {member.copy.me.center}", code="unknown_view")
    return view


def filesystem_of(head: bytes) -> str:
    """Name of the file system that left its mark in the first `PROBE_BYTES`; empty: none that is known."""
    return next((name for at, mark, name in SIGNATURES if head[at : at + len(mark)] == mark), "")
