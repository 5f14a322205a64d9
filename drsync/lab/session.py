"""`lab up` and `lab demo` from their first line to their last: who stops what, and when."""

import asyncio
import contextlib
import shlex
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

from drsync.adapters.api_client.doc import Doc, Json
from drsync.lab.cluster import Cluster
from drsync.lab.demo import Demo
from drsync.lab.images import Image
from drsync.lab.layout import CENTER_NAMES, PROCESSES, Layout
from drsync.lab.narrator import BAD, GOOD, Narrator
from drsync.lab.outcome import Outcome
from drsync.lab.start import bring_up
from drsync.lab.status import environment, lab_status
from drsync.model.errors import UsageError

WATCH_S = 0.5  # because a person should read soon that a process died
GOOD_EXIT, BAD_EXIT, INTERRUPTED_EXIT = 0, 1, 130

Result = TypeVar("Result")
Show = Callable[[Json], None]
"""Given the lab's object once everything that was asked for is done."""


def make_root(layout: Layout) -> None:
    """Make the lab's directory.

    Raises:
        UsageError: nothing can be made there.
    """
    try:
        layout.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot make {layout.root}: {error.strerror}", remedy="Name another directory with --dir."
        ) from error


class _InterruptedError(Exception):
    """The person wants to stop."""


async def up(
    cluster: Cluster,
    images: Sequence[Image],
    trees: Sequence[Path] | None,
    tell: Narrator,
    show: Show,
    *,
    detach: bool,
    with_demo: bool,
) -> int:
    """Bring the lab up, tell the story if asked for, and stay until Ctrl-C unless detached. The exit code."""
    told = listen_for_stop()
    try:
        make_root(cluster.layout)
        brought = await unless(told, bring_up(cluster, images, trees, tell))
    except _InterruptedError:
        return INTERRUPTED_EXIT
    stays = detach or brought.was_running
    try:
        outcome = None
        if with_demo:
            outcome = await unless(told, Demo(cluster, tell, is_fresh=brought.is_fresh).run())
        shown = await _object(cluster, outcome)
        _end(cluster, tell, shown, outcome, stays=stays)
        show(shown)
        if outcome is not None and not outcome.is_good:
            return BAD_EXIT
        if not stays:
            await _watch(cluster, tell, told)
    except _InterruptedError:
        return INTERRUPTED_EXIT
    finally:
        if not stays:
            await _stop(cluster, tell)
    return GOOD_EXIT


async def demo(cluster: Cluster, tell: Narrator, show: Show) -> int:
    """Tell the story in a lab that runs. The exit code."""
    told = listen_for_stop()
    cluster.require_some()
    try:
        outcome = await unless(told, Demo(cluster, tell, is_fresh=False).run())
    except _InterruptedError:
        return INTERRUPTED_EXIT
    shown = await _object(cluster, outcome)
    _end(cluster, tell, shown, outcome, stays=True)
    show(shown)
    return GOOD_EXIT if outcome.is_good else BAD_EXIT


def listen_for_stop() -> asyncio.Event:
    """Set by Ctrl-C and by SIGTERM."""
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    return told


async def unless(told: asyncio.Event, work: Coroutine[None, None, Result]) -> Result:
    """The result of `work`, or an end of it as soon as the person wants to stop."""
    working = asyncio.ensure_future(work)
    waiting = asyncio.ensure_future(told.wait())
    await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if working.done():
        return working.result()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    raise _InterruptedError


async def _watch(cluster: Cluster, tell: Narrator, told: asyncio.Event) -> None:
    """Until the person wants to stop, or everything was stopped from elsewhere."""
    missing: set[str] = set()
    while not told.is_set():
        gone = set(PROCESSES) - set(cluster.alive())
        if len(gone) == len(PROCESSES):
            tell.say("everything was stopped by another command")
            return
        for name in sorted(gone - missing):
            tell.say(f"{name} ended; drsync lab fault restart {name} starts it again", BAD)
        for name in sorted(missing - gone):
            tell.say(f"{name} runs again", GOOD)
        missing = gone
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCH_S):
                await told.wait()


async def _stop(cluster: Cluster, tell: Narrator) -> None:
    tell.blank()
    if not cluster.alive():
        return
    with tell.waiting("stopping"):
        killed = await cluster.stop_all()
    tell.say(f"stopped; the data stays in {cluster.layout.root}, and drsync lab up goes on with it")
    if killed:
        tell.say(f"did not end by themselves and were killed: {', '.join(killed)}", "yellow")


async def _object(cluster: Cluster, outcome: Outcome | None) -> Json:
    shown = await lab_status(cluster)
    if outcome is not None:
        shown["demo"] = outcome.to_json()
    return shown


def _end(cluster: Cluster, tell: Narrator, shown: Json, outcome: Outcome | None, *, stays: bool) -> None:
    """The verdict, and where to look."""
    if outcome is not None and outcome.is_good:
        tell.verdict(f"Everything was as promised, in {outcome.seconds:.0f} s.", is_good=True)
    elif outcome is not None:
        tell.verdict("Not as promised:", is_good=False)
        tell.lines(outcome.broken)
    tell.blank()
    tell.pairs(_places(cluster, Doc(shown), outcome))
    tell.blank()
    if stays:
        tell.hint("It keeps running. drsync lab down stops it; the data stays.")
    elif outcome is None or outcome.is_good:
        tell.hint("All three centers keep running. Ctrl-C stops them; the data stays.")


def _places(cluster: Cluster, shown: Doc, outcome: Outcome | None) -> list[tuple[str, str]]:
    """What to type and what to open."""
    words = [f"export {key}={shlex.quote(value)}" for key, value in environment(cluster).items()]
    places = list(zip(["to look at it", ""], words, strict=True))
    places.append(("", "drsync status --watch"))
    for name in CENTER_NAMES:
        volumes = shown.doc("centers").doc(name).doc("volumes")
        places += [(volume, str(uri)) for volume, uri in volumes.items()]
        trees = shown.doc("centers").doc(name).doc("trees")
        places += [(f"{tree} at {name}", str(path)) for tree, path in trees.items()]
    drills = outcome.drills.values() if outcome is not None else ()
    places += [(f"drill {drill.center}", drill.page) for drill in drills]
    return [*places, ("logs", f"{cluster.layout.root}/*/log")]
