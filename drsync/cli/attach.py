"""`drsync attach`: a local NBD address of a volume that stays, whoever owns it."""

import json
import os
import re
import sys
from pathlib import Path

import click

from drsync.cli.daemons import serve
from drsync.cli.errors import EXIT_CODES
from drsync.cli.options import Talk, coordinator_options
from drsync.cli.text import clean
from drsync.config.options import BUSY_POLL_S, BUSY_POLL_US_MAX
from drsync.config.problems import MistakeError
from drsync.config.quantities import parse_duration
from drsync.core.relay import AfterLoss
from drsync.model.errors import UsageError
from drsync.relay.options import RelayOptions
from drsync.relay.places import Place
from drsync.relay.telling import Said

PORT_MAX = 0xFFFF  # because ports have 16 bits
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*", re.ASCII)


@coordinator_options
@click.command(epilog=EXIT_CODES)
@click.argument("volume", metavar="GROUP/VOLUME")
@click.option(
    "--socket",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="PATH",
    help="Where to listen. [default: GROUP.VOLUME.sock in a run directory of this user]",
)
@click.option("--listen", metavar="HOST:PORT", help="Listen on this loopback address as well; port 0: any.")
@click.option(
    "--timeout", default="60s", show_default=True, help="How long requests wait for an owner; 0s: for ever."
)
@click.option(
    "--after-loss",
    type=click.Choice([choice.value for choice in AfterLoss]),
    default=AfterLoss.FAIL.value,
    show_default=True,
    help="After an accepted loss: answer EIO until all clients have left, or go on.",
)
@click.option(
    "--busy-poll-us",
    type=click.IntRange(0, BUSY_POLL_US_MAX),
    default=round(BUSY_POLL_S * 1e6),
    show_default=True,
    metavar="MICROSECONDS",
    help="How long to wait awake for what mostly comes at once; 0: not at all.",
)
@click.option(
    "--center",
    "centers",
    multiple=True,
    metavar="NAME=URI",
    help="How a center's volume is reached from here, e.g. by a forwarded socket; may be repeated.",
)
def attach(
    volume: str,
    socket: Path | None,
    listen: str | None,
    timeout: str,
    after_loss: str,
    busy_poll_us: int,
    centers: tuple[str, ...],
) -> None:
    """A local address of a volume that stays, whoever owns it.

    Applications connect here instead of to the owner. While the owner changes, their requests wait and are
    then sent to the next one: they see a pause, not an error. Runs until SIGTERM or Ctrl-C.

    \b
    Examples:
      drsync attach orders/data
      drsync attach orders/data --socket /run/orders.sock --timeout 5m
      nbdfuse /mnt/orders/disk nbd+unix:///data?socket=/run/orders.sock
    """
    from drsync.relay.daemon import run

    talk = Talk.here()
    group, name = _split(volume)
    options = RelayOptions(
        group=group,
        volume=name,
        socket=(socket or _default_socket(group, name)).absolute(),
        listen=_address(listen) if listen else None,
        timeout_s=_duration(timeout),
        after_loss=AfterLoss(after_loss),
        places=tuple(_place(word) for word in centers),
        coordinator=talk.coordinator,
        token_file=talk.token_file,
        busy_poll_s=busy_poll_us / 1e6,
    )
    serve(lambda stop: run(options, stop, _as_json if talk.as_json else _in_words))


def _in_words(said: Said) -> None:
    click.echo(click.style(clean(said.text), fg="red" if said.is_bad else None), err=True)


def _as_json(said: Said) -> None:
    click.echo(json.dumps({"event": said.event.value, **said.facts, "text": said.text}, ensure_ascii=False))
    sys.stdout.flush()


def _split(word: str) -> tuple[str, str]:
    group, _, volume = word.partition("/")
    if not NAME.fullmatch(group) or not NAME.fullmatch(volume):
        raise UsageError(f"{word!r} names no volume", remedy="Write GROUP/VOLUME, e.g. orders/data.")
    return group, volume


def _default_socket(group: str, volume: str) -> Path:
    """In systemd's directory of the service, or the user's own, or the system's for root."""
    given = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    user = os.environ.get("XDG_RUNTIME_DIR", "")
    if given:
        folder = Path(given)
    elif os.geteuid() == 0:
        folder = Path("/run/drsync/attach")
    elif user:
        folder = Path(user) / "drsync"
    else:
        raise UsageError(
            "there is no run directory for this user", remedy="Name a socket with --socket PATH."
        )
    return folder / f"{group}.{volume}.sock"


def _address(word: str) -> tuple[str, int]:
    host, _, port = word.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise UsageError(f"--listen {word} is no address", remedy="Write HOST:PORT, e.g. 127.0.0.1:10809.")
    return host.strip("[]"), int(port)


def _duration(word: str) -> float:
    try:
        return parse_duration(word)
    except MistakeError as error:
        raise UsageError(f"--timeout {word}: {error}", remedy="Write a duration, e.g. 60s or 5m.") from error


def _place(word: str) -> Place:
    from drsync.adapters.nbd.address import parse_uri

    center, _, uri = word.partition("=")
    if not NAME.fullmatch(center) or not uri:
        raise UsageError(
            f"--center {word} names no address",
            remedy="Write NAME=URI, e.g. remote=nbd://127.0.0.1:10810/data.",
        )
    parse_uri(uri)
    return Place(center, uri)
