"""What a demo measured and found, and how that is shown: a table for people, an object for scripts."""

from dataclasses import dataclass, field

from drsync.adapters.api_client.doc import Doc, Json
from drsync.config.quantities import format_size
from drsync.lab.layout import CENTER_NAMES, GROUP
from drsync.lab.narrator import BAD, DIM, GOOD, Narrator, show_seconds

Cell = tuple[str, str]


@dataclass(frozen=True, slots=True)
class DrillFinding:
    """A drill at one center.

    Attributes:
        id: of the drill.
        position: last record of the copy that was opened.
        content: ``equal``, or what else was found.
        rto_s: seconds until the copy could be read.
        page: file with its report.
    """

    id: str
    center: str
    verdict: str
    position: int
    content: str
    rto_s: float
    page: str


@dataclass(slots=True)
class Outcome:
    """Filled while the story goes on.

    Attributes:
        broken: promises that were not kept, in words.
        failover_s: from the kill to the first acknowledged write at the new owner.
        pause_s: the application's longest pause during the switchover.
        acknowledged: writes of the application that were acknowledged.
        lost: acknowledged writes that were not found.
        resent_bytes: what the old owner was sent to be a replica again; None when not known.
        fsck: volume names and what e2fsck said of them after the failover.
        drills: the newest drill of each center.
        follow_s: center and how long after it was saved a file was there.
        files_age_s: edits of files that were lost by the failover were made in so many seconds before it.
        forks: files that the returning center kept aside.
        trees: center and whether its trees equal the owner's.
    """

    broken: list[str] = field(default_factory=list)
    failover_s: float | None = None
    pause_s: float | None = None
    acknowledged: int = 0
    lost: list[int] = field(default_factory=list)
    resent_bytes: int | None = None
    fsck: dict[str, str] = field(default_factory=dict)
    drills: dict[str, DrillFinding] = field(default_factory=dict)
    follow_s: dict[str, float] = field(default_factory=dict)
    files_age_s: float | None = None
    forks: list[str] = field(default_factory=list)
    trees: dict[str, bool] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        """Everything was as promised."""
        return not self.broken

    def rto_s(self, center: str, owner: str) -> float | None:
        """What it took, or would take, until applications work at a center, as measured last."""
        if center == owner:
            return self.pause_s
        if center in self.drills and center != "same_city":
            return self.drills[center].rto_s
        return self.failover_s

    def to_json(self) -> Json:
        """For scripts."""
        return {
            "ok": self.is_good,
            "broken": list(self.broken),
            "seconds": round(self.seconds, 2),
            "failover_s": self.failover_s,
            "switchover_pause_s": self.pause_s,
            "acknowledged_writes": self.acknowledged,
            "lost_writes": list(self.lost),
            "resent_bytes": self.resent_bytes,
            "e2fsck": dict(self.fsck),
            "files": {
                "follow_s": dict(self.follow_s),
                "lost_edits_s": self.files_age_s,
                "forks": list(self.forks),
                "equal": dict(self.trees),
            },
            "drills": {
                name: {
                    "id": drill.id,
                    "verdict": drill.verdict,
                    "position": drill.position,
                    "content": drill.content,
                    "rto_s": drill.rto_s,
                    "report": drill.page,
                }
                for name, drill in self.drills.items()
            },
        }


def show_table(tell: Narrator, group: Doc, outcome: Outcome) -> None:
    """Group, centers, position, lag, RPO, RTO, content."""
    owner = group.text("owner")
    rows: list[list[Cell]] = []
    for name in CENTER_NAMES:
        center = group.doc("centers").doc(name)
        title = (GROUP, "bold") if not rows else ("", "")
        rows.append(
            [title, (name, ""), *_cells(group, name, center, owner), *_found(group, name, owner, outcome)]
        )
    aims = group.doc("objectives")
    rpo, rto = f">RPO of {aims.number('rpo_s'):.0f} s", f">RTO of {aims.number('rto_s'):.0f} s"
    headings = ["group", "center", "role", ">record", ">lag", rpo, rto, "content"]
    if outcome.trees:
        headings.append("files")
        for name, cells in zip(CENTER_NAMES, rows, strict=True):
            cells.append(_files(group.doc("centers").doc(name), name, owner, outcome))
    tell.table(headings, rows)


def _files(center: Doc, name: str, owner: str, outcome: Outcome) -> Cell:
    """Whether the trees are the owner's, and how many names they have."""
    names = sum(tree.whole("entries") for _, tree in center.table("files"))
    if name == owner:
        return f"source, {_count(names)}", DIM
    is_equal = outcome.trees.get(name, False)
    return (f"equal, {_count(names)}", GOOD) if is_equal else ("different", BAD)


def _cells(group: Doc, name: str, center: Doc, owner: str) -> list[Cell]:
    """Role, record, lag."""
    if name == owner:
        return [("owner", GOOD), (_count(center.whole("position")), ""), ("", "")]
    role = ("in sync", GOOD) if name in group.texts("in_sync") else ("async", "")
    lag = "none" if not center.whole("lag_records") else format_size(center.whole("lag_bytes"))
    return [role, (_count(center.whole("position")), ""), (lag, "")]


def _found(group: Doc, name: str, owner: str, outcome: Outcome) -> list[Cell]:
    """RPO, RTO, content."""
    aims = group.doc("objectives")
    center = group.doc("centers").doc(name)
    rpo = center.number("rpo_actual_s") if center.has("rpo_actual_s") and name != owner else None
    drill = outcome.drills.get(name)
    if name == owner:
        content: Cell = ("source", DIM)
    elif drill is None:
        content = ("not checked", "yellow")
    else:
        content = (drill.content.replace("_", " "), GOOD if drill.content == "equal" else BAD)
    return [
        _beside(rpo, aims.number("rpo_s")),
        _beside(outcome.rto_s(name, owner), aims.number("rto_s")),
        content,
    ]


def _beside(actual: float | None, target: float) -> Cell:
    if actual is None:
        return "", DIM
    return show_seconds(actual), GOOD if actual <= target else BAD


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")
