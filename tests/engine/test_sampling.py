"""Which recovery point is the first with content that shrinks no more."""

import random
from dataclasses import replace
from pathlib import Path

from drsync.delta.batch import BatchBuilder, EncodedBatch, Kind
from drsync.engine.sampling import BLOCK_BYTES, EVERY_S, FIRST, Sampler, pick
from drsync.model.epoch import Epoch
from drsync.model.position import NO_CHAIN
from tests.engine.test_town import BLOCK, Writer
from tests.engine.town import GROUP, Town, town

TEXT = b"".join(b"%d: the customer %d ordered %d pieces\n" % (i, i * 7919 % 997, i % 13) for i in range(200))
NOISE = random.Random(1).randbytes(1 << 16)


def batch(*data: bytes, zero: int = 0, mark: bytes = b"", first: int = 1) -> EncodedBatch:
    builder = BatchBuilder()
    builder.reset(Epoch(1), first, NO_CHAIN)
    if zero:
        builder.add_zero(0, 0, zero, 0)
    for one in data:
        builder.add_write(0, 0, memoryview(one), 0)
    if mark:
        builder.add_control(Kind.CHECKPOINT, mark)
    return builder.finish(1)


def ratio_of(*batches: EncodedBatch) -> float | None:
    sampler = Sampler()
    for one in batches:
        sampler.take(one, 0.0)
    return sampler.mark()


def test_text_shrinks_and_noise_does_not() -> None:
    text, noise = ratio_of(batch(TEXT[:BLOCK])), ratio_of(batch(NOISE[:BLOCK]))
    assert text is not None
    assert text > 2
    assert noise == 1.0


def test_without_data_there_is_no_ratio() -> None:
    assert ratio_of() is None
    assert ratio_of(batch(zero=1 << 20)) is None
    assert ratio_of(batch(mark=b'{"app": false, "name": "text text text text text text"}')) is None


def test_each_checkpoint_begins_anew() -> None:
    sampler = Sampler()
    sampler.take(batch(TEXT[:BLOCK]), 0.0)
    assert sampler.mark() != 1.0
    sampler.take(batch(NOISE[:BLOCK]), 0.0)
    assert sampler.mark() == 1.0
    assert sampler.mark() is None


def test_a_few_at_once_and_then_few_in_a_second() -> None:
    sampler, taken, now = Sampler(), 0, 100.0
    for step in range(10_000):
        now = 100.0 + step * 0.001
        if now >= sampler.due:
            sampler.take(batch(NOISE[:BLOCK], first=step + 1), now)
            taken += 1
    assert FIRST <= taken <= FIRST + 1 + 10 / EVERY_S


def test_no_place_of_a_large_batch_is_left_out() -> None:
    """Whoever writes one kind of content at the front must not hide the other behind it."""
    halves = (TEXT[:BLOCK] * 4, NOISE[: 4 * BLOCK])
    seen = [pick(batch(*halves, first=first)) for first in range(1, 200)]
    assert all(len(block) == BLOCK_BYTES for block in seen)
    assert 40 < sum(block == TEXT[:BLOCK] for block in seen) < 160
    assert {NOISE[at : at + BLOCK] for at in range(0, 4 * BLOCK, BLOCK)} <= set(seen)


def test_short_writes_are_sampled_as_they_are() -> None:
    assert ratio_of(batch(b"x")) == 1.0
    assert pick(batch(TEXT[:700])) in (TEXT[:700], bytes(4))


async def test_encrypted_content_shows_in_the_recovery_points_of_a_replica(tmp_path: Path) -> None:
    group = replace(GROUP, policy=replace(GROUP.policy, checkpoint_s=3600.0))
    async with town(tmp_path, group) as place:
        writer = Writer(place, "production")
        await fill(place, writer, TEXT, "before")
        await fill(place, writer, NOISE, "after")
        await checkpoint(place, "quiet")
        remote = place.member("remote").copy
        await place.until(lambda: any(point.name == "quiet" for point in remote.points()))
        points = (await place.call("remote", "group.points", {"group": GROUP.id}, 5))["points"]
        assert isinstance(points, list)
        found: dict[str, dict[str, object]] = {point["name"]: point for point in points}
        before = found["before"]["ratio"]
        assert isinstance(before, float)
        assert before > 2
        assert found["after"]["ratio"] == 1.0
        assert "ratio" not in found["quiet"]


async def fill(place: Town, writer: Writer, content: bytes, name: str) -> None:
    done = len(writer.acknowledged)
    for number in range(20):
        at = number * 100 % (len(content) - BLOCK)
        writer.device.write(number * BLOCK, memoryview(content)[at : at + BLOCK], b"12345678", fua=False)
        writer.device.submit(writer)
    await place.until(lambda: len(writer.acknowledged) == done + 20)
    await checkpoint(place, name)


async def checkpoint(place: Town, name: str) -> None:
    await place.call("production", "group.checkpoint", {"group": GROUP.id, "name": name}, 5)
