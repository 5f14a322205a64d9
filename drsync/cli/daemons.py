"""`drsync agent run` and `drsync coordinator run`: read the file, set the log up, run until told to stop."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from drsync.cli.errors import EXIT_CODES

FILE = click.Path(path_type=Path, dir_okay=False)
FILES_WANTED = 65_536  # because a group with a long journal has 80 files open, and clients have sockets

SWITCH_S = 0.0005
"""How long a thread that computes keeps the interpreter while the loop waits for it: Python's 5 ms are twenty
times what a write takes."""


@click.group()
def agent() -> None:
    """The daemon of a center."""


@click.group()
def coordinator() -> None:
    """The daemon that decides and acts."""


@agent.command("run", epilog=EXIT_CODES)
@click.option("--config", type=FILE, required=True, help="The agent's file.")
def run_agent(config: Path) -> None:
    """Serve and protect the groups of one center, until SIGTERM or Ctrl-C.

    \b
    Example:
      drsync agent run --config /etc/drsync/agent.toml
    """
    from drsync.agent.daemon import run
    from drsync.cli import logs
    from drsync.config.load import load_agent

    options = load_agent(config)
    logs.set_up(options.log)
    serve(lambda stop: run(options, stop))


@coordinator.command("run", epilog=EXIT_CODES)
@click.option("--config", type=FILE, required=True, help="The coordinator's file.")
def run_coordinator(config: Path) -> None:
    """Watch the centers, run procedures and answer people, until SIGTERM or Ctrl-C.

    \b
    Example:
      drsync coordinator run --config /etc/drsync/coordinator.toml
    """
    from drsync.cli import logs
    from drsync.config.load import load_coordinator
    from drsync.coordinator.daemon import run

    options = load_coordinator(config)
    logs.set_up(options.log)
    serve(lambda stop: run(options, stop))


def allow_many_files() -> None:
    """Use as many descriptors as the system allows: shells start processes with 1024, as for `select`."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def serve(run: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run a daemon on uvloop; SIGTERM and SIGINT ask it to stop, a second one ends it at once.

    SIGABRT, as a watchdog sends it, and crashes of a library leave the stacks of all threads in the log.
    """
    import faulthandler

    import uvloop

    faulthandler.enable()
    allow_many_files()
    sys.setswitchinterval(SWITCH_S)

    async def until_told() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def told(number: signal.Signals) -> None:
            stop.set()
            loop.remove_signal_handler(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told, number)
        await run(stop)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_told())
