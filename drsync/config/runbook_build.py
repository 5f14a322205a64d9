"""A checked file into frozen words. Nothing can be wrong any more when this runs."""

from drsync.config.runbook_schema import DoSection, RunbookFile, StepSection
from drsync.config.runbook_sketch import Part, Sketch, StepSketch
from drsync.model.runbook import Check, Do, Need, Param, Runbook, RunbookStep


def build(file: RunbookFile, found: Sketch, digest: str) -> Runbook:
    """The runbook, with its parameters in place."""
    return Runbook(
        name=file.metadata.name,
        version=file.metadata.version,
        title=file.metadata.title,
        group=file.spec.group,
        rto_s=file.spec.rto,
        params=tuple(
            Param(name, entry.type, entry.default, entry.title) for name, entry in file.spec.params.items()
        ),
        steps=tuple(_step(*pair) for pair in zip(file.spec.steps, found.steps, strict=True)),
        digest=digest,
    )


def _step(section: StepSection, known: StepSketch) -> RunbookStep:
    return RunbookStep(
        id=section.id,
        do=_do(section, known.do),
        modes=known.modes,
        needs=tuple(Need(need.removesuffix("?"), need.endswith("?")) for need in section.needs),
        timeout_s=section.timeout,
        retries=section.retries,
        retry_wait_s=section.retry_wait,
        on_failure=section.on_failure,
        undo=_do(section.undo, known.undo) if section.undo and known.undo else None,
        check=Check(_values(known.check, section.at), section.check.within)
        if section.check and known.check
        else None,
        budget_s=section.budget,
    )


def _do(section: DoSection, part: Part) -> Do:
    return _values(part, section.at)


def _values(part: Part, at: str) -> Do:
    """Parameters as they are in force, defaults included, so that evidence shows what was meant."""
    assert part.action is not None
    assert part.schema is not None
    return Do(part.action, part.schema.model_validate(part.values).model_dump(), at)
