"""The configuration of a lab's processes: the same files that people write, read back before they are used.

Places are written relative to the file, so a lab whose directory was moved starts at its new place.
"""

import json
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from drsync.config.load import load_agent, load_coordinator
from drsync.lab import layout as names
from drsync.lab.layout import CENTERS, COORDINATOR, Layout
from drsync.lab.ports import HOST
from drsync.lab.record import LabRecord
from drsync.model.topology import Center

HTTP = "coordinator_http"
"""The port of the coordinator for people and tools."""

PORTS = (*names.PROCESSES, HTTP)
TOKEN_BYTES = 32

Section = Mapping[str, str]
HEADER = "# Written by drsync lab at each start.\n"


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


def make_token(path: Path) -> None:
    """A token for the HTTP interface, unless there is one."""
    if path.exists():
        return
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")


def _coordinator(layout: Layout, record: LabRecord) -> str:
    sections: dict[str, Section] = {
        "": _places(layout, COORDINATOR),
        "cluster": {"id": record.cluster},
        "ssh": _ssh(layout, record, COORDINATOR),
        "http": {"listen": f"{HOST}:{record.ports[HTTP]}", "token_file": _from_home(layout, layout.token)},
    }
    for center in CENTERS:
        sections[f"agents.{center.name}"] = {
            "designation": center.designation.value,
            "site": center.site,
            "client_key": _public(layout, layout.client_key(center.name)),
            "host_key": _public(layout, layout.host_key(center.name)),
        }
    sections["log"] = {"format": "console"}
    return _toml(sections)


def _agent(layout: Layout, record: LabRecord, center: Center) -> str:
    sections: dict[str, Section] = {
        "": _places(layout, center.name),
        "cluster": {"id": record.cluster},
        "center": {"name": center.name, "designation": center.designation.value, "site": center.site},
        "ssh": _ssh(layout, record, center.name),
        "coordinator": {
            "address": f"{HOST}:{record.ports[COORDINATOR]}",
            "host_key": _public(layout, layout.host_key(COORDINATOR)),
        },
    }
    for peer in CENTERS:
        if peer.name != center.name:
            sections[f"peers.{peer.name}"] = {
                "address": f"{HOST}:{record.ports[peer.name]}",
                "host_key": _public(layout, layout.host_key(peer.name)),
                "client_key": _public(layout, layout.client_key(peer.name)),
            }
    sections["log"] = {"format": "console"}
    return _toml(sections)


def _places(layout: Layout, process: str) -> Section:
    run = layout.run(process)
    return {
        "state_dir": "state",
        "run_dir": str(run) if layout.is_run_root_outside else _from_home(layout, run),
    }


def _ssh(layout: Layout, record: LabRecord, process: str) -> Section:
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


def _toml(sections: Mapping[str, Section]) -> str:
    return HEADER + "\n".join("".join(f"{line}\n" for line in _section(*item)) for item in sections.items())


def _section(name: str, values: Section) -> Iterable[str]:
    if name:
        yield f"[{name}]"
    for key, value in values.items():
        # Every text in JSON is one in TOML, as long as characters are written as themselves.
        yield f"{key} = {json.dumps(value, ensure_ascii=False)}"


def _write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
