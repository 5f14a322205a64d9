"""What the agents of a lab let runbooks do: run what comes with drsync's own runbooks, and mount."""

import os
import shutil
from pathlib import Path

import drsync

TOOLS = ("nbdfuse", "losetup", "mount", "umount", "ip")
SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"
CHECKER = "e2fsck"


def programs() -> Path:
    """Where the programs of the shipped runbooks are, in a checkout; an installed drsync has none."""
    return Path(drsync.__file__).resolve().parent.parent / "runbooks" / "bin"


def hooks() -> dict[str, object]:
    """``[hooks]`` of an agent of a lab."""
    allow = [str(programs())] if programs().is_dir() else []
    checker = shutil.which(CHECKER, path=SEARCH)
    if checker is not None:
        allow.append(checker)
    return {"allow": allow, "mounts": not why_no_mounts()}


def why_no_mounts() -> str:
    """Why volumes cannot be mounted on this machine; empty when they can."""
    missing = [tool for tool in TOOLS if shutil.which(tool, path=SEARCH) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "needs root"
    devices = ("/dev/fuse", "/dev/loop-control")
    absent = [device for device in devices if not Path(device).exists()]
    return f"needs {' and '.join(absent)}" if absent else ""
