"""A stage that holds everything becomes the images: real files, with the holes that an image has."""

from dataclasses import replace
from pathlib import Path

import pytest

from drsync.agent.copy_store import FileCopyStore
from drsync.core.extents import GRANULE
from drsync.ports.stage import FailedStageError, Stage
from tests.adapters.stage.rig import GROUP, SESSION, SHORT, VOLUMES, granule, store_in

EVERYTHING = replace(SESSION, is_everything=True)


def shaped(directory: Path) -> tuple[FileCopyStore, Stage]:
    """Images that hold something else, and a stage of everything with zeros over what was data."""
    store = store_in(directory)
    for volume in VOLUMES:
        image = store.image(volume)
        image.write(0, [b"former" * (volume.size // 6) + b"x" * (volume.size % 6)])
        image.sync()
        image.close()
    stage = store.new_stage(GROUP, EVERYTHING)
    stage.put(0, GRANULE, granule(1) + granule(2))
    stage.put(0, 7 * GRANULE, granule(7, SHORT))
    stage.put(1, 0, granule(9))
    stage.sync()
    stage.zero(0, 2, 3)
    stage.zero(1, 0, 2)
    stage.sync()
    assert stage.shape()
    stage.verify()
    return store, stage


def expected(index: int) -> bytes:
    content = bytearray(VOLUMES[index].size)
    if index == 0:
        content[GRANULE : 2 * GRANULE] = granule(1)
        content[7 * GRANULE :] = granule(7, SHORT)
    return bytes(content)


def test_images_are_what_was_staged_and_holes(tmp_path: Path) -> None:
    store, stage = shaped(tmp_path)
    stage.close()
    for volume in VOLUMES:
        assert store.adopt_image(volume)
        assert not store.adopt_image(volume), "it was renamed before"
        path = tmp_path / "volumes" / f"{volume.id}.img"
        assert path.read_bytes() == expected(volume.index)
        image = store.image(volume)
        assert image.extent(0) == ((GRANULE, True) if volume.index == 0 else (volume.size, True))
        image.close()
    assert (tmp_path / "volumes" / "v1.img").stat().st_blocks * 512 <= GRANULE + SHORT + 4096


def test_an_image_is_compared_with_what_was_staged(tmp_path: Path) -> None:
    store, stage = shaped(tmp_path)
    for volume in VOLUMES:
        assert store.adopt_image(volume)
        image = store.image(volume)
        stage.compare(volume.index, image.read_into)
        image.close()
    for offset in (2 * GRANULE + 7, 7 * GRANULE + SHORT - 1):  # zeros, and the end of the short granule
        image = store.image(VOLUMES[0])
        image.write(offset, [b"x"])
        with pytest.raises(FailedStageError, match=f"byte {offset // GRANULE * GRANULE} is not what was put"):
            stage.compare(0, image.read_into)
        image.write(offset, [expected(0)[offset : offset + 1]])
        image.close()
        stage.close()
        found = store.stage(GROUP)
        assert found is not None
        stage = found


def test_what_was_shaped_can_be_gone_on_with(tmp_path: Path) -> None:
    """The end may be refused: the next one brings more."""
    store, stage = shaped(tmp_path)
    stage.put(1, GRANULE, granule(3))
    stage.sync()
    assert stage.shape()
    stage.verify()
    stage.close()
    assert store.adopt_image(VOLUMES[1])
    assert (tmp_path / "volumes" / "v2.img").read_bytes() == bytes(GRANULE) + granule(3)
