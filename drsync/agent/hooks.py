"""What an agent does for a runbook: programs, services, disks and networks on its own machine.

Everything is registered before it is made, found by what the kernel says, and removed by its name; asking
twice under one name gives the same thing. Programs and mounts only as far as the configuration allows.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from drsync.adapters.hooks import disks
from drsync.adapters.hooks.inventory import Inventory, Item
from drsync.adapters.hooks.kernel import traces
from drsync.adapters.hooks.programs import (
    Allowed,
    Ended,
    Tail,
    environment,
    run,
    run_tool,
    start,
    tool,
)
from drsync.adapters.hooks.removal import HOME, end_processes, remove
from drsync.agent.hook_requests import HookRequest
from drsync.agent.hook_steps import Steps
from drsync.config.options import HookOptions
from drsync.model.errors import DrsyncError, RefusedError, TransientError
from drsync.model.runbook import DRILL_SCOPE
from drsync.ports.transport import Call

Json = dict[str, object]
Spawn = Callable[[Coroutine[None, None, None]], object]
Log = Callable[[str, str], None]

TRIAL_S = 0.3  # because a program that cannot run ends at once, and the step that starts it should say so
TCP_PROBE = """\
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
"""
GRACE_S = 5.0  # because a service that is told to end closes its files within seconds
CONNECT_S = 2.0  # because the probe is asked again anyway
ALIVE = {"volume": "fuse", "mount": "mount", "netns": "netns", "service": "process"}
"""What the kernel must know of a thing of each kind."""


class Exports(Protocol):
    """Where the agent serves what it has."""

    async def uri(self, group_id: str, volume: str, view_id: str) -> str:
        """A volume of an open view, or of a group that is owned here. Raises UsageError, RefusedError."""
        ...

    def basis(self, group_id: str, view_id: str) -> str:
        """Changes whenever what was attached before is worth nothing any more."""
        ...


@dataclass(slots=True)
class Service:
    """A program that stays, as long as this process knows it."""

    process: asyncio.subprocess.Process
    output: Tail
    is_over: asyncio.Event


class HookDesk:
    """One per agent."""

    def __init__(
        self,
        options: HookOptions,
        inventory: Inventory,
        folder: Path,
        exports: Exports,
        spawn: Spawn,
        log: Log,
    ) -> None:
        """`folder` is where the directories of things are made; `spawn` starts a task that lives with us."""
        self._options = options
        self._allowed = Allowed(options.allow)
        self._inventory = inventory
        self._folder = folder
        self._exports = exports
        self._spawn = spawn
        self._log = log
        self._services: dict[str, Service] = {}
        self._steps = Steps()

    def for_coordinator(self) -> Mapping[str, Call]:
        """What the coordinator may ask."""
        steps: dict[str, Callable[[HookRequest], Awaitable[Json]]] = {
            "volume.attach": self._attach,
            "volume.mount": self._mount,
            "netns.create": self._netns,
            "service.start": self._service_start,
            "service.stop": self._service_stop,
            "probe.command": self._command,
            "probe.tcp": self._tcp,
        }
        calls = {method: self._step(work) for method, work in steps.items()}
        return {
            **calls,
            "inventory.list": self._list,
            "inventory.remove": self._remove,
            "inventory.clean": self._clean,
        }

    async def sweep(self) -> None:
        """At start and stop: what drills made stands on views of one process, and is worthless without it."""
        try:
            items = await asyncio.to_thread(self._inventory.items)
            for scope in dict.fromkeys(item.scope for item in items if item.is_drill):
                answer = await self._clean("inventory.clean", {"scope": scope})
                self._log("hooks_swept", f"{scope}: removed {answer['removed']}, left {answer['left']}")
        except (DrsyncError, OSError, ValueError) as error:
            self._log(
                "sweep_failed", f"what an earlier drill left is looked at again at the next start: {error}"
            )

    def _step(self, work: Callable[[HookRequest], Awaitable[Json]]) -> Call:
        async def answer(_method: str, body: Json) -> Json:
            request = HookRequest.read(body)
            tag = self._inventory.tag(request.scope, request.item)
            async with self._steps.under_way(tag, request.timeout_s):
                return await work(request)

        return answer

    # --- disks and networks

    async def _attach(self, request: HookRequest) -> Json:
        facts = await self._ensure(request, "volume", self._make_volume)
        return _made(f"{request.text('volume')} as {facts['device']}", device=facts["device"])

    async def _make_volume(self, request: HookRequest, item: Item) -> dict[str, str]:
        return {"device": str(await self._file(request, item))}

    async def _mount(self, request: HookRequest) -> Json:
        facts = await self._ensure(request, "mount", self._make_mount)
        return _made(f"{request.text('volume')} at {facts['path']}", path=facts["path"])

    async def _make_mount(self, request: HookRequest, item: Item) -> dict[str, str]:
        file = await self._file(request, item)
        filesystem, is_read_only = request.filesystem, request.flag("read_only")
        seconds = request.timeout_s
        tree = await disks.mount(self._place(item), file, filesystem, seconds, read_only=is_read_only)
        return {"path": str(tree)}

    async def _file(self, request: HookRequest, item: Item) -> Path:
        if request.is_drill and not request.view:
            raise RefusedError(
                "a drill attaches only its own copy, and none is open",
                code="hook_not_allowed",
                remedy="Let the step need repl.open, and perform it at the target.",
            )
        uri = await self._exports.uri(request.group, request.text("volume"), request.view)
        is_read_only = request.flag("read_only")
        return await disks.attach(self._place(item), item.tag, uri, request.timeout_s, read_only=is_read_only)

    async def _netns(self, request: HookRequest) -> Json:
        facts = await self._ensure(request, "netns", self._make_netns)
        return _made(facts["name"], name=facts["name"])

    async def _make_netns(self, request: HookRequest, item: Item) -> dict[str, str]:
        name = f"drsync-{item.tag}ns"
        await run_tool("ip", "netns", "add", name, seconds=request.timeout_s)
        await run_tool("ip", "-n", name, "link", "set", "lo", "up", seconds=request.timeout_s)
        return {"name": name}

    async def _ensure(
        self,
        request: HookRequest,
        kind: str,
        make: Callable[[HookRequest, Item], Awaitable[dict[str, str]]],
    ) -> dict[str, str]:
        """The thing of that name: as it is if it is whole and stands on the same ground, else made anew."""
        if kind != "service" and not self._options.mounts:
            raise RefusedError(
                "this agent may not attach or mount volumes, nor make networks",
                code="hook_not_allowed",
                remedy="Set mounts = true in [hooks] of its configuration.",
            )
        basis = "" if kind == "netns" else self._basis(request)
        known = await asyncio.to_thread(self._inventory.find, request.scope, request.item)
        is_same = known is not None and known.is_ready and known.basis == basis
        if known is not None and is_same and await self._is_alive(known):
            return known.facts
        await self._take_away(request.scope, request.item)
        item = await asyncio.to_thread(
            lambda: self._inventory.register(
                request.scope, request.item, kind, basis, is_drill=request.is_drill
            )
        )
        facts = await make(request, item)
        await asyncio.to_thread(self._inventory.ready, item, facts)
        return facts

    def _basis(self, request: HookRequest) -> str:
        """What it stands on and how it was asked for: another program or disk is another thing."""
        return f"{self._exports.basis(request.group, request.view)}/{request.digest}"

    async def _is_alive(self, item: Item) -> bool:
        found = await asyncio.to_thread(traces, self._folder, item.tag)
        return any(trace.kind == ALIVE[item.kind] for trace in found)

    async def _take_away(self, scope: str, item_id: str) -> None:
        """Whatever the kernel knows under that name, on the list or not."""
        tag = self._inventory.tag(scope, item_id)
        gone = await remove(self._folder, tag, GRACE_S, is_copy=scope.startswith(DRILL_SCOPE))
        if gone.left:
            raise RefusedError(
                f"what was there before is still there: {', '.join(gone.left)}", code="not_clean"
            )

    def _place(self, item: Item) -> Path:
        return self._folder / f"{item.tag}d"

    # --- services

    async def _service_start(self, request: HookRequest) -> Json:
        facts = await self._ensure(request, "service", self._make_service)
        name = Path(request.words("run")[0]).name
        return _made(f"{name} runs as process {facts['pid']}", pid=facts["pid"])

    async def _make_service(self, request: HookRequest, item: Item) -> dict[str, str]:
        argv = await self._argv(request)
        home = await self._home(f"{item.tag}d")
        process = await start(argv, environment(f"{item.tag}run", home, request.environment), home)
        service = self._services[item.tag] = Service(process, Tail(), asyncio.Event())
        lifetime = request.seconds("lifetime") if request.is_drill else None
        self._spawn(self._watch(item, service, lifetime))
        with suppress(TimeoutError):
            async with asyncio.timeout(TRIAL_S):
                await process.wait()
        if process.returncode is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(TRIAL_S):
                    await service.is_over.wait()  # its last words are read
            raise TransientError(
                f"{argv[0]} ended at once with exit code {process.returncode}: {service.output.text.strip()}",
                code="service_ended",
            )
        return {"pid": str(process.pid)}

    async def _watch(self, item: Item, service: Service, lifetime: float | None) -> None:
        """Read what it says until it ends; in a drill it ends in time by itself."""
        loop = asyncio.get_running_loop()
        deadline = None if lifetime is None else loop.time() + lifetime
        try:
            async with asyncio.timeout_at(deadline):
                await service.output.read(service.process)
                await service.process.wait()
        except TimeoutError:
            self._log("service_expired", f"{item.scope}/{item.id} had its {lifetime:g} s and is ended")
        finally:
            service.is_over.set()
            if lifetime is not None:
                await asyncio.to_thread(end_processes, item.tag)

    async def _service_stop(self, request: HookRequest) -> Json:
        item = await asyncio.to_thread(self._inventory.find, request.scope, request.text("service"))
        if item is None:
            return {"ok": True, "detail": f"{request.text('service')} did not run", "outputs": {}}
        service = self._services.get(item.tag)
        answer = await self._removed(item.scope, item.tag, [item], request.seconds("grace"))
        said = service.output.text if service is not None else ""
        left = answer["left"]
        detail = f"{item.id} ended" if not left else f"{item.id} is still there: {left}"
        return {"ok": not left, "detail": detail, "outputs": {}, "evidence": said}

    # --- probes

    async def _command(self, request: HookRequest) -> Json:
        argv = await self._argv(request)
        ended = await self._run(request, argv, request.environment)
        expect, codes = request.text("expect"), request.numbers("codes")
        is_good = ended.code in codes and expect in ended.output
        detail = f"{Path(request.words('run')[0]).name} {ended}"
        if ended.code in codes and not is_good:
            detail += f", but did not print {expect!r}"
        return {"ok": is_good, "detail": detail, "evidence": ended.output, "outputs": {}}

    async def _tcp(self, request: HookRequest) -> Json:
        host, port = request.text("host"), str(request.number("port"))
        inside = await self._inside(request)
        code = [sys.executable, "-I", "-S", "-c", TCP_PROBE, host, port, str(CONNECT_S)]
        ended = await self._run(request, [*inside, *code], {})
        is_good = ended.code == 0
        return {"ok": is_good, "detail": f"{host}:{port} {'accepts' if is_good else 'does not accept'}"}

    async def _run(self, request: HookRequest, argv: list[str], env: Mapping[str, str]) -> Ended:
        """A program that ends. It bears a mark, so that what it leaves running is found and ended."""
        tag = self._inventory.tag(request.scope, request.item)
        mark = f"{tag}probe"
        home = await self._home(mark)
        try:
            return await run(argv, environment(mark, home, env), home, request.timeout_s)
        finally:
            await asyncio.shield(remove(self._folder, mark))

    async def _argv(self, request: HookRequest) -> list[str]:
        """The program, by its real path, in the network it belongs to."""
        words = request.words("run")
        program = await asyncio.to_thread(self._allowed.find, words[0])
        return [*await self._inside(request), str(program), *words[1:]]

    async def _inside(self, request: HookRequest) -> list[str]:
        """How a program is run inside a network namespace that was made for the same scope."""
        name = request.text("netns")
        if not name:
            return []
        items = await asyncio.to_thread(self._inventory.items, request.scope)
        if all(item.kind != "netns" or item.facts.get("name") != name for item in items):
            raise RefusedError(f"{name[:64]} is no network of this run", code="unknown_netns")
        return [tool("ip"), "netns", "exec", name]

    async def _home(self, name: str) -> Path:
        home = self._folder / name / HOME
        await asyncio.to_thread(lambda: home.mkdir(mode=0o700, parents=True, exist_ok=True))
        return home

    # --- inventory

    async def _list(self, _method: str, body: Json) -> Json:
        scope = str(body.get("scope", ""))
        items = await asyncio.to_thread(self._inventory.items, scope)
        found: list[Json] = []
        for item in items:
            known = await asyncio.to_thread(traces, self._folder, item.tag)
            found.append(
                {
                    "scope": item.scope,
                    "item": item.id,
                    "kind": item.kind,
                    "ready": item.is_ready,
                    "kernel": [str(trace) for trace in known],
                }
            )
        return {"items": found}

    async def _remove(self, _method: str, body: Json) -> Json:
        scope, item_id = str(body.get("scope", "")), str(body.get("item", ""))
        tag = self._inventory.tag(scope, item_id)
        await self._steps.end(tag)
        item = await asyncio.to_thread(self._inventory.find, scope, item_id)
        return await self._removed(scope, tag, [item] if item is not None else [], GRACE_S)

    async def _clean(self, _method: str, body: Json) -> Json:
        scope = str(body.get("scope", ""))
        tag = f"{self._inventory.tag_of(scope)}-"
        await self._steps.end(tag)
        items = await asyncio.to_thread(self._inventory.items, scope)
        return await self._removed(scope, tag, items, GRACE_S)

    async def _removed(self, scope: str, tag: str, items: list[Item], grace_s: float) -> Json:
        """Remove by name, compare with the kernel, and forget what it does not know any more."""
        gone = await remove(self._folder, tag, grace_s, is_copy=scope.startswith(DRILL_SCOPE))
        if not gone.left:
            for item in items:
                await asyncio.to_thread(self._inventory.forget, item)
                self._services.pop(item.tag, None)
        return {"removed": list(gone.removed), "left": list(gone.left)}


def _made(detail: str, **outputs: str) -> Json:
    return {"ok": True, "detail": detail, "outputs": dict(outputs)}
