"""What a lab shows of itself: the stable JSON object of `lab up`, `lab status` and `lab demo`."""

from drsync.adapters.api_client.doc import Doc, Json
from drsync.lab import processes
from drsync.lab.cluster import Cluster
from drsync.lab.layout import CENTER_NAMES, COORDINATOR, GROUP, PROCESSES


async def lab_status(cluster: Cluster) -> Json:
    """The lab as it is now; what only the coordinator knows is missing while it does not answer.

    Raises:
        UsageError: there is no lab.
    """
    status = await cluster.status() if COORDINATOR in cluster.alive() else None
    return describe(cluster, status)


def describe(cluster: Cluster, status: Doc | None) -> Json:
    """The lab's object from what the lab itself knows and from the coordinator's answer."""
    shown = status or Doc()
    states = {name: _state(cluster, name) for name in PROCESSES}
    pids = {name: process.pid for name, process in cluster.alive().items()}
    return {
        "dir": str(cluster.layout.root),
        "running": set(pids) == set(PROCESSES),
        "coordinator": {
            "pid": pids.get(COORDINATOR),
            "process": states[COORDINATOR],
            "url": cluster.url,
            "answers": status is not None,
            "log": str(cluster.layout.log(COORDINATOR)),
        },
        "env": environment(cluster),
        "centers": {
            name: {
                "pid": pids.get(name),
                "process": states[name],
                "state_dir": str(cluster.layout.state(name)),
                "log": str(cluster.layout.log(name)),
                "connected": shown.doc("centers").doc(name).flag("connected"),
                "volumes": dict(shown.doc("centers").doc(name).doc("volumes").items()),
                "trees": dict(shown.doc("centers").doc(name).doc("trees").items()),
            }
            for name in CENTER_NAMES
        },
        "groups": {name: _group(group) for name, group in shown.table("groups")},
    }


def environment(cluster: Cluster) -> dict[str, str]:
    """What lets other commands find this lab."""
    return {"DRSYNC_COORDINATOR": cluster.url, "DRSYNC_TOKEN_FILE": str(cluster.layout.token)}


def group_of(status: Doc) -> Doc:
    """The lab's group in the coordinator's answer."""
    return status.doc("groups").doc(GROUP)


def owner_uri(status: Doc, volume: str) -> str:
    """Where the owner serves a volume; empty while nobody does."""
    owner = group_of(status).text("owner")
    return status.doc("centers").doc(owner).doc("volumes").text(f"{GROUP}/{volume}")


def _state(cluster: Cluster, name: str) -> str:
    process = cluster.alive().get(name)
    if process is None:
        return "stopped"
    return "paused" if processes.is_paused(process) else "running"


def _group(group: Doc) -> Json:
    """The group as the coordinator says it; these keys are promised whatever it leaves out."""
    promised: Json = {
        "owner": group.text("owner"),
        "epoch": group.whole("epoch"),
        "in_sync": group.texts("in_sync"),
        "ready": group.flag("ready"),
        "centers": {name: dict(center.items()) for name, center in group.table("centers")},
    }
    return {**dict(group.items()), **promised}
