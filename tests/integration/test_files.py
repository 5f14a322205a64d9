"""Trees of files between real processes: followed exactly, failed over, put aside, never lost."""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from drsync.lab import trees as compared
from drsync.lab.layout import COORDINATOR, GROUP, PRODUCTION, REMOTE, SAME_CITY
from tests.adapters.tree.variety import grow
from tests.integration import trees
from tests.integration.site import is_connected, site

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners of files, trusted attributes and mounts need root"),
]
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _unmounted(home: Path) -> Iterator[None]:
    yield
    trees.unmount_all(home)


async def test_a_tree_is_seeded_followed_failed_over_and_comes_back(home: Path) -> None:
    async with site(home) as place:
        trees.make_roots(place)
        root = trees.roots(place)
        grow(root[PRODUCTION], 300)
        await trees.protect(place, is_level_now=False)
        # In the middle of the seed two processes end; nothing of it is done twice or forgotten.
        await place.until("the seed begun", lambda s: trees.tree(s, PRODUCTION).whole("generation") > 0)
        await place.kill(REMOTE, COORDINATOR)
        place.start(COORDINATOR, REMOTE)
        await trees.meet(place, PRODUCTION)
        await trees.until_ready(place)

        for n in range(20):
            (root[PRODUCTION] / f"new-{n}").write_text(f"{n}\n" * n)
        shutil.move(root[PRODUCTION] / "new-3", root[PRODUCTION] / "moved")
        (root[PRODUCTION] / "new-4").unlink()
        await trees.meet(place, PRODUCTION)
        ended = (await place.cli("drill", "run", GROUP, "--at", REMOTE, "--json")).well()
        report = ended.doc.doc("result").doc("report")
        found = report.docs("trees")[0]
        assert (report.text("verdict"), found.text("content")) == ("passed", "equal")
        assert found.whole("entries") > 300
        views = [path for path in place.layout.state(REMOTE).rglob("views/*") if path.is_dir()]
        assert not views, "the clean-up is proved by what is there"

        await place.kill(PRODUCTION)
        (root[PRODUCTION] / "late").write_text("nobody fenced this directory\n")
        (root[PRODUCTION] / "new-5").write_text("nor this file\n")
        ended = (await place.cli("failover", GROUP, "--to", SAME_CITY, "--json")).well()
        lost = ended.doc.doc("loss").docs("files")[0]
        assert lost.text("fileset") == trees.WWW
        assert lost.whole("held") == lost.whole("known")
        assert lost.number("seconds") < 15
        (root[SAME_CITY] / "later").write_text("at the new owner\n")

        place.start(PRODUCTION)
        await trees.meet(place, SAME_CITY)
        (fork,) = root[PRODUCTION].glob(".drsync-fork-*")
        assert (fork / "late").read_text() == "nobody fenced this directory\n"
        assert (fork / "new-5").read_text() == "nor this file\n"
        assert not (root[PRODUCTION] / "late").exists()
        await place.until("forks told", lambda s: trees.tree(s, PRODUCTION).whole("forks") > 0)
        events = (await place.get("/v1/events")).docs("events")
        assert [one for one in events if one.text("kind") == "files_put_aside"]
        assert (root[PRODUCTION] / "new-5").read_text() == "5\n" * 5

        await place.until("level again", lambda s: trees.has_volumes(s, SAME_CITY))
        (root[SAME_CITY] / "last").write_text("before the planned change\n")
        (await place.cli("switchover", GROUP, "--to", PRODUCTION)).well()
        assert (root[PRODUCTION] / "last").read_text() == "before the planned change\n"
        (root[PRODUCTION] / "later").unlink()
        await trees.meet(place, PRODUCTION)


async def test_what_looks_like_an_accident_at_the_owner_reaches_nobody(home: Path) -> None:
    async with site(home) as place:
        trees.make_roots(place, "mounted", "emptied")
        mounted, emptied = trees.roots(place, "mounted"), trees.roots(place, "emptied")
        trees.mount_disk(mounted[PRODUCTION], home / "disk.img")
        for n in range(30):
            (mounted[PRODUCTION] / f"file-{n}").write_text(f"{n}\n")
            (emptied[PRODUCTION] / f"file-{n}").write_text(f"{n}\n")
        await trees.protect(place, "mounted", "emptied")
        await trees.meet(place, PRODUCTION, name="mounted")
        await trees.meet(place, PRODUCTION, name="emptied")
        await trees.until_ready(place)

        # The disk goes away under the watcher: an empty mount point is left.
        async with place.writing() as writer:
            await trees.unmounted(mounted[PRODUCTION])
            status = await trees.until_why(place, f"no change of mounted at {PRODUCTION} is taken")
            assert trees.tree(status, PRODUCTION, "mounted").text("hold")
            before = writer.acknowledged
            await writer.write_since(asyncio.get_running_loop().time(), 10.0)
            assert writer.acknowledged > before, "volumes know nothing of it"

        assert len(list(mounted[REMOTE].glob("file-*"))) == 30
        (mounted[PRODUCTION] / "in the empty mount point").write_text("never part of the set\n")
        trees.mount_disk(mounted[PRODUCTION], home / "disk.img")
        (mounted[PRODUCTION] / "back").write_text("again\n")
        await trees.meet(place, PRODUCTION, name="mounted")
        await trees.until_ready(place)

        for path in emptied[PRODUCTION].glob("file-*"):
            path.unlink()
        await trees.until_why(place, f"drsync files approve {GROUP}/emptied --reason TEXT")
        for center in (SAME_CITY, REMOTE):
            assert len(list(emptied[center].glob("file-*"))) == 30
        assert "stands still" in (await place.cli("files", "show", GROUP)).well().out

        refused = await place.cli("files", "approve", f"{GROUP}/emptied", "--at", REMOTE, "--reason", "x")
        assert refused.code == 3, refused.out
        words = ("--reason", "the archive was moved", "--actor", "ada")
        (await place.cli("files", "approve", f"{GROUP}/emptied", *words)).well()
        await trees.meet(place, PRODUCTION, name="emptied")
        assert not list(emptied[REMOTE].glob("file-*"))
        events = (await place.get("/v1/events")).docs("events")
        (event,) = [one for one in events if one.text("kind") == "fileset_approved"]
        assert "the archive was moved" in event.text("text")
        assert "ada" in event.text("text")


async def test_a_tree_that_cannot_take_a_change_says_so_and_goes_on_when_it_can(home: Path) -> None:
    async with site(home) as place:
        trees.make_roots(place, "www", "names")
        root, names = trees.roots(place), trees.roots(place, "names")
        trees.mount_tmpfs(root[REMOTE], "2m")
        trees.mount_disk(names[SAME_CITY], home / "small.img", 1024)
        (root[PRODUCTION] / "small").write_text("fits\n")
        await trees.protect(place, "www", "names")
        await trees.meet(place, PRODUCTION)

        (names[PRODUCTION] / "long").symlink_to("x" * 3000)  # longer than a block of that file system
        await trees.until_why(place, f"names at {SAME_CITY} stands still")
        await trees.meet(place, PRODUCTION, [REMOTE], name="names")
        (names[PRODUCTION] / "long").unlink()
        await trees.meet(place, PRODUCTION, name="names")

        (root[PRODUCTION] / "large").write_bytes(os.urandom(8 * MIB))
        await trees.until_why(place, f"www at {REMOTE} stands still")
        assert "space" in await trees.why(place)
        (root[PRODUCTION] / "next").write_text("the owner goes on\n")
        await trees.meet(place, PRODUCTION, [SAME_CITY])
        assert (root[REMOTE] / "small").read_text() == "fits\n"

        trees.resize_tmpfs(root[REMOTE], "64m")
        await trees.meet(place, PRODUCTION)
        await place.until("nothing held", lambda s: not trees.tree(s, REMOTE).text("hold"))
        shown = json.loads((await place.cli("files", "show", GROUP, "--json")).well().out)
        assert shown["centers"][REMOTE]["www"]["hold"] == ""
        assert compared.compare(root[PRODUCTION], root[REMOTE]).names == 3

        # The owner is lost, and with the coordinator everything that it had reported.
        await place.kill(PRODUCTION, COORDINATOR)
        place.start(COORDINATOR)
        await place.until("the others connected", lambda s: is_connected(s, SAME_CITY, REMOTE))
        refused = await place.cli("failover", GROUP, "--to", SAME_CITY)
        assert refused.code == 3, refused.out
        assert "how much is missing is not known" in refused.out
        assert "--accept-loss" in refused.err
        (await place.cli("failover", GROUP, "--to", SAME_CITY, "--accept-loss")).well()
        charter = await place.charter()
        assert charter.docs("history")[-1].text("loss") == "none", "no write of a volume was given up"
