from pathlib import Path

import pytest

from drsync.lab import cluster
from drsync.lab.layout import CENTER_NAMES, SOCKET_PATH_MAX, Layout
from drsync.model.errors import RefusedError


def longest_socket(layout: Layout) -> int:
    return max(len(str(layout.run(name) / "nbd" / ("g" * 32 + ".sock"))) for name in CENTER_NAMES)


def test_sockets_lie_in_the_lab_while_their_paths_fit() -> None:
    layout = Layout(Path("/srv/lab"))
    assert layout.run_root == Path("/srv/lab/run")
    assert not layout.is_run_root_outside


@pytest.mark.parametrize("length", range(1, 120, 7))
def test_sockets_fit_wherever_the_lab_is(length: int) -> None:
    layout = Layout(Path("/srv") / ("x" * length))
    assert longest_socket(layout) <= SOCKET_PATH_MAX


def test_sockets_fit_with_a_long_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/var/" + "t" * 90)
    assert longest_socket(Layout(Path("/srv") / ("x" * 100))) <= SOCKET_PATH_MAX


def test_two_labs_with_long_names_do_not_share_their_sockets() -> None:
    assert Layout(Path("/" + "a" * 100)).run_root != Layout(Path("/" + "b" * 100)).run_root


def test_a_run_directory_that_others_may_enter_is_refused(layout: Layout) -> None:
    layout.run_root.mkdir()
    layout.run_root.chmod(0o777)
    with pytest.raises(RefusedError, match="not a private directory"):
        cluster.make_run_root(layout)


def test_a_run_directory_that_is_a_link_is_refused(layout: Layout, tmp_path: Path) -> None:
    layout.run_root.symlink_to(tmp_path)
    with pytest.raises(RefusedError):
        cluster.make_run_root(layout)
