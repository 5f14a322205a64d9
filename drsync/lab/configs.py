"""The configuration of a lab's processes: the shipped profiles, and over them what differs on one machine.

So the numbers that are shipped are the ones that a lab exercises. What is written is read back before it is
used. Places are relative to the file, so a lab whose directory was moved starts at its new place.
"""

import json
import os
import secrets
import tomllib
from collections.abc import Iterable
from pathlib import Path

from drsync.config import profiles
from drsync.config.load import load_agent, load_coordinator
from drsync.config.profiles import Profile
from drsync.lab import layout as names
from drsync.lab import runbooks
from drsync.lab.layout import CENTERS, COORDINATOR, Layout
from drsync.lab.ports import HOST
from drsync.lab.record import LabRecord
from drsync.model.topology import Center, Designation

HTTP = "coordinator_http"
"""The port of the coordinator for people and tools."""

ANY_PORT = 0
"""For what nobody in the lab dials; the log says which one it became."""

PORTS = (*names.PROCESSES, HTTP)
TOKEN_BYTES = 32

Table = dict[str, object]
HEADER = (
    "# Written by drsync lab at each start, from the profile {profile} (drsync config profile {profile}).\n"
)
PROFILES = {
    Designation.PRODUCTION: Profile.PRODUCTION,
    Designation.SAME_CITY: Profile.SAME_CITY,
    Designation.REMOTE: Profile.REMOTE,
}


def write_configs(layout: Layout, record: LabRecord) -> None:
    """Write every file anew and check it as `drsync config check` would.

    Raises:
        ConfigError: what was written is wrong: a path that cannot be used, a damaged key.
    """
    for process in names.PROCESSES:
        layout.home(process).mkdir(parents=True, exist_ok=True)
    _write(layout.config(COORDINATOR), _coordinator(layout, record))
    load_coordinator(layout.config(COORDINATOR))
    for center in CENTERS:
        _write(layout.config(center.name), _agent(layout, record, center))
        load_agent(layout.config(center.name))


def shipped_policy() -> dict[str, object]:
    """``[policy]`` of the shipped group."""
    policy: dict[str, object] = tomllib.loads(profiles.read(Profile.GROUP))["policy"]
    return policy


def make_token(path: Path) -> None:
    """A token for the HTTP interface, unless there is one."""
    if path.exists():
        return
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")


def _coordinator(layout: Layout, record: LabRecord) -> str:
    return _over(
        Profile.COORDINATOR,
        {
            **_places(layout, COORDINATOR),
            "cluster": {"id": record.cluster},
            "ssh": _ssh(layout, record, COORDINATOR),
            "http": {
                "listen": f"{HOST}:{record.ports[HTTP]}",
                "token_file": _from_home(layout, layout.token),
            },
            "agents": {
                center.name: {
                    "designation": center.designation.value,
                    "site": center.site,
                    "client_key": _public(layout, layout.client_key(center.name)),
                    "host_key": _public(layout, layout.host_key(center.name)),
                }
                for center in CENTERS
            },
            "metrics": {"listen": f"{HOST}:{ANY_PORT}"},
            "log": {"format": "console"},
        },
    )


def _agent(layout: Layout, record: LabRecord, center: Center) -> str:
    return _over(
        PROFILES[center.designation],
        {
            **_places(layout, center.name),
            "cluster": {"id": record.cluster},
            "center": {"name": center.name, "designation": center.designation.value, "site": center.site},
            "ssh": _ssh(layout, record, center.name),
            "coordinator": {
                "address": f"{HOST}:{record.ports[COORDINATOR]}",
                "host_key": _public(layout, layout.host_key(COORDINATOR)),
            },
            "peers": {
                peer.name: {
                    "address": f"{HOST}:{record.ports[peer.name]}",
                    "host_key": _public(layout, layout.host_key(peer.name)),
                    "client_key": _public(layout, layout.client_key(peer.name)),
                }
                for peer in CENTERS
                if peer.name != center.name
            },
            "hooks": runbooks.hooks(),
            "files": {"allow": [str(layout.trees)]},
            "metrics": {"listen": f"{HOST}:{ANY_PORT}"},
            "log": {"format": "console"},
        },
    )


def _places(layout: Layout, process: str) -> Table:
    run = layout.run(process)
    return {
        "state_dir": "state",
        "run_dir": str(run) if layout.is_run_root_outside else _from_home(layout, run),
    }


def _ssh(layout: Layout, record: LabRecord, process: str) -> Table:
    return {
        "listen": f"{HOST}:{record.ports[process]}",
        "host_key": _from_home(layout, layout.host_key(process)),
        "client_key": _from_home(layout, layout.client_key(process)),
    }


def _public(layout: Layout, key: Path) -> str:
    return _from_home(layout, key.with_name(f"{key.name}.pub"))


def _from_home(layout: Layout, path: Path) -> str:
    """A place of the lab, seen from the directory of a process."""
    return str(Path("..") / path.relative_to(layout.root))


def _over(profile: Profile, differs: Table) -> str:
    """The text of a profile with some values replaced or added; the others stay as they are shipped."""
    document: Table = tomllib.loads(profiles.read(profile))
    return HEADER.format(profile=profile) + "\n".join(_lines(_merged(document, differs)))


def _merged(below: Table, above: Table) -> Table:
    merged = dict(below)
    for key, value in above.items():
        known = merged.get(key)
        if isinstance(value, dict) and isinstance(known, dict):
            inner: Table = known
            outer: Table = value
            merged[key] = _merged(inner, outer)
        else:
            merged[key] = value
    return merged


def _lines(table: Table, name: str = "") -> Iterable[str]:
    """TOML: the values of a table first, because what follows a header belongs to it."""
    for key, value in table.items():
        if not isinstance(value, dict):
            # Text, numbers, yes or no and lists of them in JSON are the same in TOML, as long as characters
            # are written as themselves.
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in table.items():
        if isinstance(value, dict):
            path = f"{name}.{key}" if name else key
            yield f"\n[{path}]"
            yield from _lines(value, path)
    if not name:
        yield ""


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
