"""Stories in which a tree might lose, invent or keep what it should not: kills, power cuts, people."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.tree_rig import SECOND, Owner, Rig, names


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    root = tmp_path / "production"
    (root / "a").mkdir(parents=True)
    (root / "a" / "one").write_text("one\n")
    (root / "a" / "two").write_text("two\n")
    (root / "big").write_bytes(b"big" * 1000)
    return Owner(root)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "remote")
    yield rig
    rig.files.close()


async def test_what_a_power_cut_left_beside_the_tree_is_not_believed(rig: Rig, owner: Owner) -> None:
    """A sealed name may be durable before its content: file systems promise nothing without a sync."""
    owner.cut()
    await rig.take(owner, stop_after=2)
    area = next(rig.directory.joinpath("trees").glob(".drsync-5e*"))
    sealed = [path for path in area.iterdir() if path.suffix != ".part"]
    assert sealed, list(area.iterdir())
    for path in sealed:
        times = path.stat()
        path.write_bytes(bytes(times.st_size))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    await rig.restart()
    await rig.take(owner)
    assert (rig.root / "a" / "one").read_text() == "one\n"
    assert (rig.root / "a" / "two").read_text() == "two\n"
    assert (rig.root / "big").read_bytes() == b"big" * 1000


async def test_an_index_that_does_not_come_to_the_digest_is_not_held_after_a_restart(
    rig: Rig, owner: Owner
) -> None:
    owner.cut()
    wrong = owner.entries(None)[:-1]
    await rig.take(owner, entries=wrong)
    await rig.restart()
    channel = await rig.take(owner)
    assert channel.states[0].flags & 1, "it asks for everything"
    assert names(rig.root) == names(owner.root)


async def test_a_replicas_tree_that_somebody_changed_is_mended_by_the_next_stream(
    rig: Rig, owner: Owner
) -> None:
    owner.cut()
    await rig.take(owner)
    (rig.root / "a" / "one").unlink()
    (rig.root / "a" / "two").write_text("edited at the replica")
    (rig.root / "big").unlink()
    await rig.take(owner)
    assert names(rig.root) == names(owner.root)
    assert (rig.root / "a" / "one").read_text() == "one\n"
    kept = list(rig.root.glob(".drsync-fork-*/a/two"))
    assert [path.read_text() for path in kept] == ["edited at the replica"]


async def test_a_directory_goes_although_somebody_put_a_file_into_the_replicas(
    rig: Rig, owner: Owner
) -> None:
    owner.cut()
    await rig.take(owner)
    (rig.root / "a" / "stranger").write_text("nobody knows me")
    (rig.root / "a" / "deep").mkdir()
    (rig.root / "a" / "deep" / "stranger").write_text("nor me")
    shutil.rmtree(owner.root / "a")
    owner.cut()
    await rig.take(owner, base=1)
    assert rig.files.state.held.number == 2, rig.files.hold
    assert names(rig.root) == ["big"]
    kept = sorted(path.read_text() for path in rig.root.glob(".drsync-fork-*/a/**/stranger"))
    assert kept == ["nobody knows me", "nor me"]


async def test_a_directory_that_vanished_at_the_replica_does_not_stop_its_set(rig: Rig, owner: Owner) -> None:
    owner.cut()
    await rig.take(owner)
    shutil.rmtree(rig.root / "a")
    (owner.root / "a" / "three").write_text("three")
    (owner.root / "a" / "one").chmod(0o600)
    owner.cut()
    for _ in range(3):
        await rig.take(owner, base=1)
    assert names(rig.root) == names(owner.root), rig.files.hold


async def test_a_hard_linked_symbolic_link_that_was_replaced_is_replaced_under_both_names(
    rig: Rig, owner: Owner
) -> None:
    (owner.root / "l1").symlink_to("old")
    (owner.root / "l2").hardlink_to(owner.root / "l1")
    owner.cut()
    await rig.take(owner)
    for name in ("l1", "l2"):
        (owner.root / name).unlink()
    (owner.root / "l1").symlink_to("new")
    (owner.root / "l2").hardlink_to(owner.root / "l1")
    owner.cut()
    await rig.take(owner, base=1)
    assert [str((rig.root / name).readlink()) for name in ("l1", "l2")] == ["new", "new"]


async def test_an_owner_that_lost_its_index_and_its_mount_does_not_empty_its_peers(
    rig: Rig, owner: Owner, tmp_path: Path
) -> None:
    owner.cut()
    await rig.take(owner)
    (tmp_path / "unmounted").mkdir()
    other = Owner(tmp_path / "unmounted")
    other.cut(SECOND)
    await rig.take(other)
    assert names(rig.root) == names(owner.root)
    assert "approve" in rig.files.hold
