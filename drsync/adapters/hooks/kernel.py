"""What the kernel says is there: processes, mounts, loop devices, network namespaces and directories by name.

Everything an agent makes for a runbook bears a tag in its name or environment, chosen before it is made. So
what is left can be found without believing any list of ours, also after the agent was killed. Blocking; run
it in a thread.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

VARIABLE = "DRSYNC_ITEM"
"""Environment variable that marks every process, and is inherited by its children."""

SERVER = ".disk"
"""End of the mark of a process that serves a disk: it must outlive what is mounted from it."""

NAMESPACES = Path("/run/netns")
"""Where iproute2 keeps the names of network namespaces (ip-netns(8))."""

_OCTAL = re.compile(r"\\([0-7]{3})")
STATE_FIELD = 0  # proc(5): field 3 of stat, counted behind the name in parentheses


@dataclass(frozen=True, slots=True)
class Trace:
    """Something that is there. `pid` for processes, `name` as the kernel calls it."""

    kind: str
    name: str
    pid: int = 0

    @override
    def __str__(self) -> str:
        """As people read it in a report."""
        return f"process {self.pid} ({self.name})" if self.pid else f"{self.kind} {self.name}"


def traces(folder: Path, tag: str) -> list[Trace]:
    """Everything whose name begins with `tag`, in the order in which it can be taken away.

    Args:
        folder: directory that holds the agent's item directories; mounts and backing files are below it.
        tag: beginning of the names.
    """
    folder = folder.resolve()  # because the kernel names mounts and files without symbolic links
    prefix = f"{folder}/{tag}"
    running = list(processes(tag))
    return [
        *(Trace("process", name, pid) for pid, name, is_server in running if not is_server),
        *(Trace("mount", place) for place, kind in mounts() if place.startswith(prefix) and kind != "fuse"),
        *(Trace("loop", device) for device, file in loops() if file.startswith(prefix)),
        *(Trace("fuse", place) for place, kind in mounts() if place.startswith(prefix) and kind == "fuse"),
        *(Trace("server", name, pid) for pid, name, is_server in running if is_server),
        *(Trace("netns", name) for name in namespaces() if name.startswith(f"drsync-{tag}")),
        *(Trace("directory", str(path)) for path in sorted(folder.glob(f"{tag}*"))),
    ]


def processes(tag: str) -> Iterator[tuple[int, str, bool]]:
    """Living processes that bear the tag: id, name, and whether it serves a disk."""
    for path in Path("/proc").iterdir():
        mark = mark_of(int(path.name)) if path.name.isdecimal() else ""
        if not mark.startswith(tag):
            continue
        try:
            name, _, rest = (path / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
        except OSError:
            continue  # ended meanwhile
        if rest.split()[STATE_FIELD] not in {"Z", "X"}:
            yield int(path.name), name, mark.endswith(SERVER)


def mark_of(pid: int) -> str:
    """The mark in a process's environment; a space, which begins no tag, when there is none."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return " "  # ended, or somebody else's
    wanted = f"{VARIABLE}=".encode()
    found = next((entry for entry in environment.split(b"\0") if entry.startswith(wanted)), b"")
    return found.removeprefix(wanted).decode(errors="replace") or " "


def mounts() -> list[tuple[str, str]]:
    """Mount points of this process's namespace with ``fuse`` or ``disk``, the latest first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        fields, _, rest = line.partition(" - ")
        place = _OCTAL.sub(lambda match: chr(int(match[1], 8)), fields.split()[4])
        found.append((place, "fuse" if rest.startswith("fuse") else "disk"))
    return found[::-1]


def loops() -> Iterator[tuple[str, str]]:
    """Loop devices in use: device and backing file (sysfs)."""
    for path in sorted(Path("/sys/block").glob("loop*/loop/backing_file")):
        try:
            file = path.read_text(errors="surrogateescape").strip()
        except OSError:
            continue
        yield f"/dev/{path.parent.parent.name}", file.removesuffix(" (deleted)")


def namespaces() -> list[str]:
    """Named network namespaces."""
    try:
        return sorted(path.name for path in NAMESPACES.iterdir())
    except OSError:
        return []
