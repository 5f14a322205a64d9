"""`drsync files`: where trees stand, in words and as JSON, and a person's word on a change."""

import json

from tests.cli.conftest import Drsync, FakeCoordinator

Json = dict[str, object]

OWN: Json = {"generation": 43, "known": 43, "entries": 1234, "bytes": 5 << 20, "root": "/srv/www", "hold": ""}
STATUS: Json = {
    "owner": "production",
    "objectives": {"rpo_s": 15},
    "filesets": [{"name": "www", "id": "f1", "roots": {}}],
    "centers": {
        "remote": {
            "files": {
                "www": {
                    **OWN,
                    "generation": 41,
                    "lag_s": 2.5,
                    "rpo_s": 20.25,
                    "pending": 3,
                    "forks": 2,
                    "pending_names": ["a.txt", "\x1b[2Jb"],
                }
            }
        },
        "production": {"files": {"www": {**OWN, "lag_s": 0.0, "busy": ["log"], "unseen": 2}}},
        "same_city": {
            "files": {"www": {**OWN, "lag_s": 0.0, "rpo_s": 1.5, "hold": "the disk is full", "forks": 1}}
        },
    },
}


async def test_trees_are_shown_with_their_age_and_what_is_missing(
    coordinator: FakeCoordinator, drsync: Drsync
) -> None:
    coordinator.answer("GET", "/v1/groups/orders", {"name": "orders", "status": STATUS})
    told = await drsync("files", "show", "orders", "www")
    assert told.code == 0
    assert "41 of 43" in told.out
    assert "< 20" in told.out
    assert "held" in told.out
    assert "www at same_city stands still: the disk is full" in told.out
    assert "www at remote, not there yet: a.txt, \\x1b[2Jb and 1 more" in told.out
    assert "www at production, change while they are read: log" in told.out
    assert "2 places cannot be looked at" in told.out
    assert "www at remote: 2 names were put aside in /srv/www/.drsync-fork-*" in told.out
    assert "www at same_city: 1 name was put aside in /srv/www/.drsync-fork-*" in told.out


async def test_trees_as_json_are_by_center(coordinator: FakeCoordinator, drsync: Drsync) -> None:
    coordinator.answer("GET", "/v1/groups/orders", {"name": "orders", "status": STATUS})
    told = await drsync("files", "show", "orders", "--json")
    assert json.loads(told.out)["centers"]["remote"]["www"]["generation"] == 41


async def test_a_file_set_that_is_not_there_is_a_mistake_of_use(
    coordinator: FakeCoordinator, drsync: Drsync
) -> None:
    coordinator.answer("GET", "/v1/groups/orders", {"name": "orders", "status": STATUS})
    told = await drsync("files", "show", "orders", "wwww")
    assert (told.code, "It has: www" in told.err) == (2, True)


async def test_a_group_without_files_says_so(coordinator: FakeCoordinator, drsync: Drsync) -> None:
    coordinator.answer("GET", "/v1/groups/orders", {"name": "orders", "status": {"filesets": []}})
    assert "protects no files" in (await drsync("files", "show", "orders")).out


async def test_an_approval_carries_who_and_why(coordinator: FakeCoordinator, drsync: Drsync) -> None:
    path = "/v1/groups/orders/filesets/www/approve"
    coordinator.answer("POST", path, {"group": "orders", "fileset": "www", "center": "production"})
    told = await drsync("files", "approve", "orders/www", "--reason", "moved away", "--actor", "ada")
    assert (told.code, told.out) == (0, "orders/www goes on at production with its next scan.\n")
    assert coordinator.asked == [("POST", path, {"at": "", "reason": "moved away", "actor": "ada"})]


async def test_an_approval_needs_a_reason_and_both_names(drsync: Drsync) -> None:
    assert (await drsync("files", "approve", "orders/www")).code == 2
    assert (await drsync("files", "approve", "orders", "--reason", "x")).code == 2


async def test_the_status_has_a_sentence_for_each_tree(coordinator: FakeCoordinator, drsync: Drsync) -> None:
    coordinator.answer("GET", "/v1/status", {"coordinator": {}, "centers": {}, "groups": {"orders": STATUS}})
    told = await drsync("status")
    assert "orders: files www: 1,234 names, 5 MiB; remote is 2.5 s behind (generation 41 of 43)" in told.out
    assert "same_city stands still" in " ".join(told.out.split())


async def test_a_loss_statement_names_trees(coordinator: FakeCoordinator, drsync: Drsync) -> None:
    files = [
        {
            "fileset": "www",
            "held": 41,
            "known": 43,
            "seconds": 4.0,
            "pending": 2,
            "pending_names": ["a.txt"],
            "hold": "",
        },
        {"fileset": "db", "held": 7, "known": 7, "seconds": None, "pending_names": [], "hold": "no root"},
    ]
    loss: Json = {"target": "remote", "loss": "none", "position": 7, "may_lose_acknowledged": False}
    ended: Json = {
        "id": "ab" * 16,
        "state": "done",
        "steps": [],
        "result": {},
        "loss": {**loss, "files": files},
    }
    coordinator.operation("/v1/groups/orders/failover", ended)
    told = await drsync("failover", "orders", "--to", "remote")
    assert "Files of www: generation 41 of 43; changes of the last 4 s may be missing." in told.out
    assert "Not there yet: a.txt and 1 more" in told.out
    assert "Files of db: generation 7, the newest; how much is missing is not known." in told.out
    assert "It stands still: no root" in told.out
