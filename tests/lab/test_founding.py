import json
import shutil
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.config.load import load_agent, load_any, load_coordinator, read_group
from drsync.lab import founding, images, ports, record
from drsync.lab.images import Image
from drsync.lab.layout import CENTER_NAMES, COORDINATOR, LEDGER, PROCESSES, PRODUCTION, Layout
from drsync.lab.record import ImportedVolume, LabRecord
from drsync.lab.start import group_document
from drsync.model.errors import PermanentError, RefusedError, TransientError, UsageError

MIB = 1 << 20


def test_the_configurations_of_a_lab_are_what_config_check_accepts(layout: Layout, known: LabRecord) -> None:
    ready = founding.prepare(layout, known)
    for process in PROCESSES:
        load_any(layout.config(process))
    coordinator = load_coordinator(layout.config(COORDINATOR))
    production = load_agent(layout.config(PRODUCTION))
    assert coordinator.cluster_id == production.cluster_id == "lab-1"
    assert {agent.center.name for agent in coordinator.agents} == set(CENTER_NAMES)
    assert {peer.name for peer in production.peers} == set(CENTER_NAMES) - {PRODUCTION}
    assert production.coordinator.address.port == coordinator.ssh.listen.port == ready.ports[COORDINATOR]
    assert production.run_dir == layout.run(PRODUCTION)
    assert production.state_dir == layout.state(PRODUCTION)


def test_a_lab_with_a_long_path_has_good_configurations_too(tmp_path: Path, known: LabRecord) -> None:
    layout = Layout(tmp_path / ("deep" * 20))
    layout.root.mkdir()
    founding.prepare(layout, known)
    assert load_agent(layout.config(PRODUCTION)).run_dir == layout.run(PRODUCTION)
    assert layout.is_run_root_outside


def test_a_lab_that_was_moved_starts_at_its_new_place(layout: Layout, known: LabRecord) -> None:
    founding.prepare(layout, known)
    moved = Layout(layout.root.with_name("moved"))
    shutil.move(layout.root, moved.root)
    kept = record.load(moved.record)
    assert kept is not None
    founding.prepare(moved, kept)
    assert load_agent(moved.config(PRODUCTION)).state_dir == moved.state(PRODUCTION)


def test_keys_and_token_are_private_and_stay(layout: Layout) -> None:
    founding.make_keys(layout)
    before = {path.name: path.read_bytes() for path in layout.keys.iterdir()}
    founding.make_keys(layout)
    assert {path.name: path.read_bytes() for path in layout.keys.iterdir()} == before
    private = [path for path in layout.keys.iterdir() if path.suffix != ".pub"]
    assert len(private) == 2 * len(PROCESSES) + 1
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)


def test_ports_stay_while_they_are_free_and_are_chosen_anew_when_taken() -> None:
    chosen = ports.choose(("a", "b"))
    assert len(set(chosen.values())) == 2
    assert ports.choose(("a", "b"), chosen) == chosen
    with socket.socket() as taken:
        taken.bind((ports.HOST, chosen["a"]))
        taken.listen()
        again = ports.choose(("a", "b"), chosen)
    assert again["a"] != chosen["a"]
    assert again["b"] == chosen["b"]


def test_a_port_that_is_held_is_given_to_nobody_else_and_its_server_can_listen_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two labs that started at the same time once got the same port: one coordinator did not start."""
    with ExitStack() as held:
        first = ports.choose(("a",), held=held)["a"]
        monkeypatch.setattr(ports, "FIRST", first)
        monkeypatch.setattr(ports, "LAST", first)
        with pytest.raises(TransientError, match="no free port"):
            ports.choose(("b",))
        with socket.socket() as dialer, pytest.raises(OSError, match="in use"):
            dialer.bind((ports.HOST, first))
        with socket.create_server((ports.HOST, first)) as server:
            assert server.getsockname()[1] == first
    assert ports.choose(("a",), {"a": first}) == {"a": first}


def test_the_group_is_one_that_group_apply_accepts(layout: Layout, known: LabRecord) -> None:
    group = read_group(group_document(layout, known))
    assert group.preferred_owner == PRODUCTION
    assert [(volume.name, volume.size) for volume in group.volumes] == [
        (volume.name, volume.size) for volume in known.volumes
    ]
    assert (group.objectives.rpo_s, group.objectives.rto_s, group.policy.lease_s) == (15, 60, 3)


@given(st.lists(st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1), min_size=1))
def test_volumes_get_names_that_are_names_and_differ(files: list[str]) -> None:
    names = founding.volume_names([Path("/images") / name for name in files])
    assert len(set(names)) == len(names) == len(files)
    known = LabRecord("c", {}, tuple(ImportedVolume(name, 4096) for name in names[:250]))
    read_group(group_document(Layout(Path("/lab")), known))
    assert LEDGER not in names


def test_one_image_is_the_disk_and_several_are_called_as_their_files() -> None:
    assert founding.volume_names([Path("/a/vm 1.qcow2")]) == ["disk"]
    paths = [Path("/a/vm 1.img"), Path("/b/vm 1.img"), Path("/c/ledger"), Path("/d/…")]
    assert founding.volume_names(paths) == ["vm-1", "vm-1-2", "ledger-2", "disk"]


def test_a_lab_is_not_founded_where_its_copies_do_not_fit(layout: Layout) -> None:
    huge = Image(Path("/images/huge"), 1 << 50, 1 << 50, is_ext=False)
    with pytest.raises(RefusedError, match=r"1 PiB|1024 TiB") as refused:
        founding.found(layout, [huge], None)
    assert "--dir" in refused.value.remedy
    assert not layout.record.exists()


def test_a_lab_protects_what_it_was_founded_with(layout: Layout, known: LabRecord) -> None:
    founding.require_same(layout, known, [])
    founding.require_same(layout, known, [Image(Path("/images/disk.img"), 1, 1, is_ext=False)])
    with pytest.raises(UsageError, match=r"/images/disk\.img"):
        founding.require_same(layout, known, [Image(Path("/images/other"), 1, 1, is_ext=False)])


def test_a_damaged_record_is_said_to_be_damaged(layout: Layout, known: LabRecord) -> None:
    assert record.load(layout.record) == known
    layout.record.write_text("{}")
    with pytest.raises(PermanentError, match="damaged"):
        record.load(layout.record)
    body = {"cluster": "c", "ports": {}, "format": 99}
    layout.record.write_text(json.dumps(body))
    with pytest.raises(PermanentError, match="format 99"):
        record.load(layout.record)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for path in (empty, tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError):
            images.look_at(path)
