"""An agent's figures of trees, read from what it says of them at the moment of a scrape."""

from collections.abc import Iterable, Iterator

from drsync.adapters.metrics import catalog
from drsync.adapters.metrics.reading import Reading
from drsync.engine.member import Member
from drsync.model.fileset import FileSetWord

Json = dict[str, object]
OF_OWNER = (
    (catalog.FILES_SCAN, "scan_s"),
    (catalog.FILES_LOOKED, "looked_s"),
    (catalog.FILES_UNSEEN, "unseen"),
)
OF_PEER = ((catalog.FILES_LAG, "lag_s"), (catalog.FILES_SENT, "sent_bytes"))


def about_trees(members: Iterable[Member]) -> Iterator[Reading]:
    """Every tree; of those that are owned here also how far the others are."""
    for member in members:
        spec = member.copy.spec
        names = {fileset.id: fileset.name for fileset in spec.filesets}
        for word in member.copy.file_words():
            yield from _about_word((spec.name, names.get(word.fileset, word.fileset)), word)
        for fileset, facts in member.trees.own_report().items():
            yield from _numbers((spec.name, fileset), facts, OF_OWNER)
        for center in spec.members:
            for fileset, facts in member.trees.report(center.name).items():
                if center.name != member.copy.me.center:
                    yield from _numbers((spec.name, fileset, center.name), facts, OF_PEER)


def _about_word(labels: tuple[str, str], word: FileSetWord) -> Iterator[Reading]:
    figures: dict[catalog.Metric, float] = {
        catalog.FILES_GENERATION: word.held.number,
        catalog.FILES_KNOWN: word.known.number,
        catalog.FILES_ENTRIES: word.entries,
        catalog.FILES_BYTES: word.bytes,
        catalog.FILES_PENDING: word.pending,
        catalog.FILES_HELD: bool(word.hold),
        catalog.FILES_BEHIND: word.behind_s,
        catalog.FILES_FORKS: word.forks,
    }
    for metric, value in figures.items():
        yield Reading(metric, labels, value)


def _numbers(
    labels: tuple[str, ...], facts: object, wanted: tuple[tuple[catalog.Metric, str], ...]
) -> Iterator[Reading]:
    """Those of the facts that are known."""
    for metric, key in wanted:
        value = facts.get(key) if isinstance(facts, dict) else None
        if isinstance(value, int | float):
            yield Reading(metric, labels, value)
