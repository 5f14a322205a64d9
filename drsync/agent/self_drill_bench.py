"""Checks by programs: the checker of a file system, or the group's own, on files that show a view's volumes.

Everything that is made is registered before, in a scope of a drill, so that a crash leaves nothing: the sweep
at the next start removes it (`agent.hooks`). Programs run as the agent's configuration allows, at the lowest
priority of processor and disk, and are ended with whoever waits for them.
"""

import asyncio
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from drsync.adapters.hooks import disks
from drsync.adapters.hooks.inventory import Inventory
from drsync.adapters.hooks.programs import SEARCH, Allowed, Ended, environment, run, tool
from drsync.adapters.hooks.removal import HOME, remove
from drsync.config.options import HookOptions
from drsync.model.errors import DrsyncError, RefusedError
from drsync.model.point_proof import Outcome
from drsync.model.runbook import DRILL_SCOPE

CHECK: Final = "check"
"""The item that the programs run as."""

ATTACH_S: Final = 15.0  # because nbdfuse shows a file within a tenth of a second
FIRST_LINES: Final = 3  # of what a checker says, because the rest is repetition
WORDS_MAX: Final = 200
TRY_LATER: Final = 75  # EX_TEMPFAIL of sysexits.h: the program could not find out
CHECKERS: Final = {"ext4": "e2fsck", "xfs": "xfs_repair", "btrfs": "btrfs"}
E2FSCK_ERRORS: Final = 4  # e2fsck(8): errors left uncorrected
E2FSCK_CONFUSED: Final = 8  # operational error: also a superblock of which it makes no sense
E2FSCK_REPLAYED: Final = (0, 1)
REPAIRED: Final = "? yes"
"""How e2fsck tells that it answered itself whether something be repaired."""

XFS_LOG_WORDS: Final = "in a log"
"""xfs_repair(8) says so of a log that is dirty, and then finds what is not there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check came to, and in words."""

    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class Setting:
    """What a check stands on.

    Attributes:
        id: of the view, unique at this center.
        uris: where its volumes are served, by name.
        facts: what a program is told beside, as environment variables.
        seconds: in which it has to be done.
    """

    id: str
    uris: Mapping[str, str]
    facts: Mapping[str, str]
    seconds: float


class Bench:
    """One per agent."""

    def __init__(self, options: HookOptions, inventory: Inventory, folder: Path) -> None:
        """`folder` is where the directories of things are made."""
        self._allowed = Allowed(options.allow)
        self._mounts = options.mounts
        self._inventory = inventory
        self._folder = folder

    async def filesystems(self, setting: Setting, systems: Mapping[str, str]) -> Finding:
        """Check each volume that bears one of `CHECKERS`; `systems` are their names, by volume.

        Raises:
            RefusedError: this agent may not.
            TransientError, UsageError: something of it could not be made or started.
        """
        programs = {
            name: self._allowed.find(name) for name in sorted({CHECKERS[s] for s in systems.values()})
        }
        said, worst = [], Outcome.PROVED
        await self._begin(setting)
        try:
            for number, (volume, system) in enumerate(sorted(systems.items())):
                file = await self._file(setting, number, setting.uris[volume])
                found = await self._one(setting, system, programs[CHECKERS[system]], file)
                said.append(f"{system} of {volume} {found.text}")
                if found.outcome is Outcome.FAILED or worst is Outcome.PROVED:
                    worst = found.outcome
        finally:
            await asyncio.shield(self._clean(setting))
        return Finding(worst, "; ".join(said))

    async def program(self, setting: Setting, argv: Sequence[str]) -> Finding:
        """Run the group's own program; see `filesystems` for errors."""
        program = self._allowed.find(argv[0])
        await self._begin(setting)
        try:
            files = {}
            if self._mounts:
                for number, (volume, uri) in enumerate(sorted(setting.uris.items())):
                    files[volume] = str(await self._file(setting, number, uri))
            told = {
                "DRSYNC_VOLUMES": json.dumps(dict(setting.uris), sort_keys=True),
                "DRSYNC_FILES": json.dumps(files, sort_keys=True),
                **setting.facts,
            }
            ended = await self._run(setting, [str(program), *argv[1:]], told)
        finally:
            await asyncio.shield(self._clean(setting))
        name = program.name
        if ended.code == 0:
            return Finding(Outcome.PROVED, f"{name} is content")
        words = f"{name} {ended}: {_gist(ended.output)}"
        is_unknown = ended.code is None or ended.code < 0 or ended.code == TRY_LATER
        return Finding(Outcome.UNKNOWN if is_unknown else Outcome.FAILED, words)

    # --- file systems

    async def _one(self, setting: Setting, system: str, program: Path, file: Path) -> Finding:
        if system == "ext4":
            return await self._ext4(setting, str(program), str(file))
        if system == "xfs":
            ended = await self._run(setting, [str(program), "-n", "-f", str(file)])
            if XFS_LOG_WORDS in ended.output:
                return Finding(Outcome.UNKNOWN, "was not unmounted, and only a mount replays its log")
            return _judged(ended, is_bad=ended.code == 1)
        ended = await self._run(setting, [str(program), "check", "--readonly", str(file)])
        return _judged(ended, is_bad=ended.code is not None and ended.code > 0)

    async def _ext4(self, setting: Setting, program: str, file: str) -> Finding:
        """As the kernel would at a mount: replay the journal, here into the private layer; then look.

        Without ``-f`` in the first step: with it e2fsck repairs what the second step is to find.
        """
        replayed = await self._run(setting, [program, "-y", "-E", "journal_only", file])
        if REPAIRED in replayed.output:
            return Finding(Outcome.FAILED, f"has a damaged journal: {_gist(replayed.output)}")
        if replayed.code not in E2FSCK_REPLAYED:
            return _judged(replayed, is_bad=_is_bad(replayed.code))
        ended = await self._run(setting, [program, "-fn", file])
        return _judged(ended, is_bad=_is_bad(ended.code))

    # --- making and running

    async def _begin(self, setting: Setting) -> None:
        """On record before anything is made."""
        scope = self._scope(setting)
        await asyncio.to_thread(lambda: self._inventory.register(scope, CHECK, "service", "", is_drill=True))

    async def _file(self, setting: Setting, number: int, uri: str) -> Path:
        if not self._mounts:
            raise RefusedError(
                "this agent may not attach volumes",
                code="hook_not_allowed",
                remedy="Set mounts = true in [hooks] of its configuration.",
            )
        item = await asyncio.to_thread(
            lambda: self._inventory.register(self._scope(setting), f"v{number}", "volume", "", is_drill=True)
        )
        seconds = min(ATTACH_S, setting.seconds)
        return await disks.attach(self._folder / f"{item.tag}d", item.tag, uri, seconds, read_only=False)

    async def _run(
        self, setting: Setting, argv: Sequence[str], told: Mapping[str, str] | None = None
    ) -> Ended:
        tag = self._inventory.tag(self._scope(setting), CHECK)
        home = self._folder / f"{tag}d" / HOME
        await asyncio.to_thread(lambda: home.mkdir(mode=0o700, parents=True, exist_ok=True))
        whole = [*_lowest(), *argv]
        return await run(whole, environment(f"{tag}run", home, told), home, setting.seconds)

    def _scope(self, setting: Setting) -> str:
        return f"{DRILL_SCOPE}{setting.id}"

    async def _clean(self, setting: Setting) -> None:
        """What is left after this is found by the sweep at the next start."""
        scope = self._scope(setting)
        try:
            gone = await remove(self._folder, f"{self._inventory.tag_of(scope)}-", is_copy=True)
            if not gone.left:
                for item in await asyncio.to_thread(self._inventory.items, scope):
                    await asyncio.to_thread(self._inventory.forget, item)
        except (DrsyncError, OSError):
            return


def _lowest() -> list[str]:
    """How a program is run after everything else; without the tools it is only slower for the others."""
    nice = [tool("nice"), "-n", "19"] if shutil.which("nice", path=SEARCH) else []
    idle = [tool("ionice"), "-c", "3"] if shutil.which("ionice", path=SEARCH) else []
    return [*nice, *idle]


def _is_bad(code: int | None) -> bool:
    """Whether e2fsck found something, and was not kept from looking."""
    return code is not None and code > 0 and bool(code & (E2FSCK_ERRORS | E2FSCK_CONFUSED))


def _judged(ended: Ended, *, is_bad: bool) -> Finding:
    if ended.code == 0:
        return Finding(Outcome.PROVED, "is clean")
    outcome = Outcome.FAILED if is_bad else Outcome.UNKNOWN
    return Finding(
        outcome, f"is not clean: {_gist(ended.output)}" if is_bad else f"could not be judged: {ended}"
    )


def _gist(output: str) -> str:
    """The first lines of what was said that say something."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    told = [
        line for line in lines if line and not line.startswith(("e2fsck ", "Pass ", "Phase ", "- ", "Fix"))
    ]
    more = f" (and {len(told) - FIRST_LINES} lines more)" if len(told) > FIRST_LINES else ""
    return ("; ".join(told[:FIRST_LINES]) or "it said nothing")[:WORDS_MAX] + more
