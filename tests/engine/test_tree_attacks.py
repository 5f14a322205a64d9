"""Stories in which a tree might lose, invent or keep what it should not: kills, power cuts, people."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from drsync.adapters.tree.tree import LinuxTree
from drsync.agent.file_store import FileStores
from drsync.engine.file_apply import Applier
from drsync.engine.file_set import CutAt
from drsync.model import epoch as epochs
from drsync.model.errors import DrsyncError, RefusedError
from drsync.model.fileset import Entry, FileKind, FileSetSpec
from drsync.model.position import EpochStart
from drsync.ports.tree import PutOutcome, PutResult, Scan, Seen, StagedFile
from drsync.wire.files import StateFlags
from tests.engine.town import GROUP
from tests.engine.tree_rig import FIRST, SECOND, Owner, Rig, names, source_of


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


# --- the owner's side


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Rig]:
    """The owner's own copy, with a few names."""
    root = tmp_path / "owner" / "tree"
    (root / "a").mkdir(parents=True)
    for number in range(20):
        (root / "a" / f"{number}").write_text(f"{number}")
    rig = Rig(tmp_path / "owner", root)
    yield rig
    rig.files.close()


async def test_one_name_that_cannot_be_read_does_not_stop_the_others(
    home: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LinuxTree.entry

    def entry(self: LinuxTree, seen: Seen) -> Entry:
        if seen.path == b"a/7":
            raise PermissionError(13, "Permission denied")
        return read(self, seen)

    monkeypatch.setattr(LinuxTree, "entry", entry)
    source = source_of(home.files)
    await source.round(is_first=True)
    assert home.files.state.entries == 1 + 1 + 19
    assert source.unread == {b"a/7": "Permission denied"}
    monkeypatch.undo()
    await source.round()
    assert home.files.state.entries == 1 + 1 + 20
    assert source.unread == {}


async def test_a_file_that_never_stands_still_is_named_and_counts_as_not_looked_at(
    home: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LinuxTree.entry

    def entry(self: LinuxTree, seen: Seen) -> Entry:
        if seen.path == b"a/7":
            raise InterruptedError(4, "it changed while it was read")
        return read(self, seen)

    monkeypatch.setattr(LinuxTree, "entry", entry)
    source = source_of(home.files)
    before = home.files._clock.now()
    await source.round(is_first=True)
    first = source.whole_since(home.files._clock.now())
    await source.round()
    assert source.whole_since(home.files._clock.now()) == first < home.files._clock.now()
    assert first >= before
    assert source.restless == [b"a/7"]
    monkeypatch.undo()
    await source.round()
    assert source.restless == []
    assert source.whole_since(1.5) == 1.5


async def test_a_mass_deletion_that_hints_cut_into_pieces_is_held(home: Rig) -> None:
    for number in range(3000):
        (home.root / "a" / f"x{number:04}").touch()
    source = source_of(home.files)
    source._signatures = home.files.with_index(lambda index: index.signatures())
    await source.round(is_first=True)

    async def remove_slowly() -> None:
        for first in range(0, 3000, 500):
            for number in range(first, first + 500):
                (home.root / "a" / f"x{number:04}").unlink()
            await source.round((b"a",), is_thorough=True)

    with pytest.raises(RefusedError, match="gone"):
        await remove_slowly()
    assert home.files.state.entries >= 2000


async def test_the_mark_is_never_written_on_what_took_the_place_of_the_root(
    home: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(home.files)
    await source.round(is_first=True)
    scan = LinuxTree.scan

    def scan_and_unmount(self: LinuxTree, below: Sequence[bytes] = ()) -> Scan:
        found = scan(self, below)
        home.root.rename(home.root.with_name("unmounted"))
        home.root.mkdir()
        return found

    monkeypatch.setattr(LinuxTree, "scan", scan_and_unmount)
    (home.root / "new").touch()
    with suppress(OSError, DrsyncError):
        await source.round()
    monkeypatch.undo()
    assert LinuxTree(str(home.root), "0" * 32).identity().mark == ""
    home.root.rmdir()
    home.root.with_name("unmounted").rename(home.root)
    home.files.reopen()
    await source.round()


# --- opening


async def test_a_generation_that_a_given_up_epoch_staged_is_not_taken_by_a_later_opening(
    rig: Rig, owner: Owner
) -> None:
    owner.cut()
    await rig.take(owner)
    rig.files.ready = CutAt(FIRST, 90)
    third = epochs.make(1, 1, 3)
    history = (
        EpochStart(FIRST, "1" * 32, 0, b""),
        EpochStart(SECOND, "2" * 32, 80, b""),
        EpochStart(third, "3" * 32, 150, b""),
    )
    files = rig.files
    called: list[str] = []
    applier = Applier(files, third)
    applier.apply = lambda: called.append("applied")  # type: ignore[method-assign]
    applier.finish(history)
    assert called == []
    files.ready = CutAt(FIRST, 70)
    applier.finish(history)
    assert called == ["applied"]


async def test_a_name_that_this_center_cannot_hold_does_not_keep_it_from_owning_the_tree(
    rig: Rig, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.cut()
    await rig.take(owner)
    (owner.root / "a" / "one").write_text("another one\n")
    owner.cut()

    def refuse(*_: object) -> PutResult:
        return PutResult(PutOutcome.HELD, "this file system cannot keep it")

    monkeypatch.setattr(LinuxTree, "put_file", refuse)
    await rig.take(owner, base=1)
    assert rig.files.with_index(lambda index: index.state()).applying is not None
    await rig.restart()
    left = Applier(rig.files, SECOND).finish((EpochStart(FIRST, "1" * 32, 0, b""),))
    assert "a/one" in left
    monkeypatch.undo()
    source = source_of(rig.files, SECOND)
    source._signatures = rig.files.with_index(lambda index: index.signatures())
    await source.round(is_first=True)
    assert rig.files.state.applying is None
    assert rig.files.with_index(lambda index: index.incoming()) is None


# --- a replica among liars


@pytest.mark.parametrize("number", [0, 1 << 63])
async def test_a_generation_that_cannot_be_is_refused(rig: Rig, owner: Owner, number: int) -> None:
    owner.cut()
    owner.number = number
    channel = await rig.take(owner, entries=[])
    assert "malformed" in channel.closed
    assert rig.files.state.held.number == 0


async def test_a_stream_that_begins_after_its_epoch_touches_nothing(rig: Rig, owner: Owner) -> None:
    owner.cut()
    await rig.take(owner)
    (rig.root / "a" / "one").write_text("written by the new owner, here")
    channel = await rig.take(owner, follow=SECOND)
    assert not channel.states
    assert not rig.files.state.doubted


async def test_a_replica_whose_disk_was_replaced_is_seeded_again_when_a_person_says_so(
    tmp_path: Path, owner: Owner
) -> None:
    owner.cut()
    root = tmp_path / "remote" / "tree"
    root.mkdir(parents=True)
    rig = Rig(tmp_path / "remote", root)
    await rig.take(owner)
    shutil.rmtree(root)
    root.mkdir()
    await rig.restart()
    await rig.take(owner)
    assert names(root) == []
    assert "approve" in rig.files.hold
    rig.files.with_index(lambda index: index.approve(approved=True))
    await rig.take(owner)
    assert names(root) == names(owner.root)
    assert not rig.files.state.approved
    rig.files.close()


async def test_an_index_that_rots_is_trouble_of_its_tree_alone(rig: Rig, owner: Owner) -> None:
    for number in range(300):
        (owner.root / "a" / f"{number}").touch()
    owner.cut()
    await rig.take(owner)
    rig.files.close()
    database = next(rig.directory.glob("files-*.db"))
    raw = bytearray(database.read_bytes())
    raw[8192:-4096] = os.urandom(len(raw) - 8192 - 4096)
    database.write_bytes(raw)
    rig.files = rig.fresh()
    with pytest.raises(DrsyncError):
        rig.files.with_index(lambda index: (index.signatures(), list(index.entries()), index.find(b"a/1")))


ROOT = Entry(b"", FileKind.DIRECTORY, 1, mode=0o755)


async def test_a_peer_cannot_write_the_mark_of_another_set_on_our_root(rig: Rig, owner: Owner) -> None:
    owner.cut()
    marked = replace(ROOT, xattrs=((b"trusted.drsync.set", b"z" * 32),))
    channel = await rig.take(owner, entries=[marked])
    assert "malformed" in channel.closed
    assert LinuxTree(str(rig.root), "0" * 32).identity().mark == rig.spec.id


async def test_a_size_beyond_all_files_costs_no_memory(rig: Rig, owner: Owner) -> None:
    owner.cut()
    size = (1 << 63) - 1
    huge = Entry(b"huge", FileKind.FILE, 1, mode=0o600, size=size, blocks=(b"\0" * 32,) * 4096)
    channel = await rig.take(owner, entries=[ROOT, huge])
    assert "malformed" in channel.closed


async def test_a_block_that_is_gone_and_not_needed_gives_nothing_up(rig: Rig, owner: Owner) -> None:
    """Pushed before it was asked for, it came twice, and the file changed in between."""
    owner.cut()
    await rig.take(owner)
    (owner.root / "a" / "one").write_text("one, again\n")
    (owner.root / "a" / "two").write_text("two, again\n")
    owner.cut()
    channel = await rig.take(owner, base=1, repeat_as_gone=True)
    assert rig.files.held.number == 2
    assert not any(state.flags & StateFlags.GAVE_UP for state in channel.states)


async def test_a_full_disk_at_the_replica_gets_back_what_was_staged_in_vain(
    rig: Rig, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (owner.root / f"{number}").write_bytes(os.urandom(1000))
    owner.cut()
    stage = LinuxTree.stage
    made: list[str] = []

    def stage_some(self: LinuxTree, key: str, size: int) -> StagedFile:
        made.append(key)
        if len(made) > 4:
            raise OSError(28, "No space left on device")
        return stage(self, key, size)

    monkeypatch.setattr(LinuxTree, "stage", stage_some)
    await rig.take(owner)
    assert "No space left" in rig.files.hold
    assert rig.files.tree().staged() == frozenset()
    monkeypatch.undo()
    await rig.take(owner)
    assert names(rig.root) == names(owner.root)


async def test_two_centers_on_one_machine_do_not_stage_into_each_others_area(
    tmp_path: Path, owner: Owner
) -> None:
    """In a lab the roots of one set may lie side by side."""
    owner.cut()
    rigs = []
    for name in ("one", "other"):
        (tmp_path / "lab" / name).mkdir(parents=True)
        rigs.append(Rig(tmp_path / "lab", tmp_path / "lab" / name))
    await rigs[0].take(owner, stop_after=2)
    assert rigs[0].files.tree().staged() != frozenset()
    assert rigs[1].files.tree().staged() == frozenset()
    for rig in rigs:
        rig.files.close()


def test_a_root_inside_the_tree_of_another_set_is_refused(tmp_path: Path) -> None:
    outer, inner = tmp_path / "srv", tmp_path / "srv" / "a" / "data"
    inner.mkdir(parents=True)
    LinuxTree(str(outer), "0" * 32).mark("6f" * 16)
    with pytest.raises(RefusedError, match="inside of the tree of another file set"):
        Rig(tmp_path, inner).files.tree()


def test_a_tree_that_would_hold_our_own_state_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "var" / "lib" / "drsync" / "groups" / "g"
    home.mkdir(parents=True)
    store = FileStores("remote", home, GROUP, (str(tmp_path),))
    with pytest.raises(RefusedError, match="holds what drsync itself keeps"):
        store.tree(FileSetSpec("5e" * 16, "docs", 1, (("remote", str(tmp_path / "var")),)))


def test_names_that_lead_out_of_our_directories_are_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    store = FileStores("remote", home, GROUP, ())
    with pytest.raises(RefusedError):
        store.tree(FileSetSpec("5e" * 16, "../../out", 1))
    with pytest.raises(RefusedError):
        store.clone_place("../../../out", FileSetSpec("5e" * 16, "docs", 1))
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


async def test_a_name_is_set_aside_where_a_file_of_the_same_fork_lies_in_the_way(
    rig: Rig, owner: Owner
) -> None:
    owner.cut()
    await rig.take(owner)
    tree = rig.files.tree()
    (rig.root / "d").write_text("first a file")
    assert tree.set_aside([b"d"], "x") == 1
    (rig.root / "d").mkdir()
    (rig.root / "d" / "inside").write_text("then a directory")
    assert tree.set_aside([b"d/inside", b"d"], "x") == 2
    assert names(rig.root) == names(owner.root)
    kept = sorted(p.read_text() for p in rig.root.glob(".drsync-fork-x*/**/*") if p.is_file())
    assert kept == ["first a file", "then a directory"]


async def test_a_replica_that_lost_files_does_not_delete_them_elsewhere_when_it_takes_over(
    rig: Rig, owner: Owner
) -> None:
    for number in range(300):
        (owner.root / "a" / f"x{number}").touch()
    owner.cut()
    await rig.take(owner)
    shutil.rmtree(rig.root / "a")
    await rig.restart()
    history = (EpochStart(FIRST, "1" * 32, 0, b""),)
    with pytest.raises(RefusedError, match="gone"):
        Applier(rig.files, SECOND).finish(history)
    rig.files.with_index(lambda index: index.approve(approved=True))
    assert Applier(rig.files, SECOND).finish(history) == ""


async def test_a_replica_that_noticed_its_loss_before_it_took_over_is_held_too(
    rig: Rig, owner: Owner
) -> None:
    for number in range(300):
        (owner.root / "a" / f"x{number}").touch()
    owner.cut()
    await rig.take(owner)
    shutil.rmtree(rig.root / "a")
    Applier(rig.files, FIRST).doubt()
    await rig.restart()
    with pytest.raises(RefusedError, match="gone"):
        Applier(rig.files, SECOND).finish((EpochStart(FIRST, "1" * 32, 0, b""),))
    await rig.take(owner)
    assert rig.files.state.lost == 0
    assert Applier(rig.files, SECOND).finish((EpochStart(FIRST, "1" * 32, 0, b""),)) == ""


async def test_what_an_owner_deleted_while_nobody_looked_is_deleted(home: Rig) -> None:
    source = source_of(home.files)
    for number in range(300):
        (home.root / "a" / f"x{number}").touch()
    await source.round(is_first=True)
    for number in range(300):
        (home.root / "a" / f"x{number}").unlink()
    await home.restart()
    assert Applier(home.files, SECOND).finish((EpochStart(FIRST, "1" * 32, 0, b""),)) == ""


async def test_a_tree_leaves_space_for_the_journals_beside_it(
    rig: Rig, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LinuxTree, "room", lambda _: 2000)
    owner.cut()
    await rig.take(owner)
    assert "of space" in rig.files.hold
    assert rig.files.tree().staged() == frozenset()
    monkeypatch.undo()
    assert 0 < rig.files.tree().room() < shutil.disk_usage(rig.root).free


async def test_a_persons_word_is_used_up_by_the_first_look_even_if_nothing_had_changed(home: Rig) -> None:
    source = source_of(home.files)
    await source.round(is_first=True)
    home.files.with_index(lambda index: index.approve(approved=True))
    await home.files.load()
    await source.round()
    shutil.rmtree(home.root / "a")
    with pytest.raises(RefusedError, match="everything in the tree is gone"):
        await source.round()


async def test_a_replicas_word_is_used_up_by_the_next_generation(rig: Rig, owner: Owner) -> None:
    owner.cut()
    await rig.take(owner)
    rig.files.with_index(lambda index: index.approve(approved=True))
    (owner.root / "next").touch()
    owner.cut()
    await rig.take(owner, base=1)
    assert rig.files.held.number == 2
    assert not rig.files.with_index(lambda index: index.state()).approved


async def test_a_lost_stream_leaves_no_handle_that_keeps_a_root_from_being_unmounted(
    rig: Rig, owner: Owner
) -> None:
    owner.cut()
    await rig.take(owner, stop_after=1)
    assert handles_below(rig.directory / "trees") == []


def handles_below(directory: Path) -> list[str]:
    held = []
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            held.append(str(handle.readlink()))
    return [name for name in held if name.startswith(str(directory))]
