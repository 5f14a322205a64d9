"""What a decision saw and answered comes back from its JSON as it was, whatever it was."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drsync.core.lease import LeaseBook
from drsync.core.observation import LastKnown, Observation, TreeKnown
from drsync.core.plan import (
    Act,
    CommitCharter,
    Done,
    FinishIntent,
    Freeze,
    OpenGroup,
    Plan,
    Prepare,
    RecordIntent,
    Refuse,
    Release,
    Seal,
    VoidIntent,
    Wait,
)
from drsync.core.safety import Reason
from drsync.engine.decision_form import (
    observation_from_json,
    observation_to_json,
    plan_from_json,
    plan_to_json,
)
from drsync.model.charter import Charter, Intent, IntentKind
from drsync.model.copy import CopyState, Statement
from drsync.model.epoch import EPOCH_MAX, Epoch
from drsync.model.errors import MalformedError
from drsync.model.fileset import FileSetWord, Generation
from drsync.model.position import CHAIN_BYTES, EpochRun, EpochStart, Loss, Position
from drsync.wire import control
from tests.core.groups import charter as plain_charter
from tests.core.groups import group

BRIEF = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
NAMES = st.sampled_from(("a", "b", "c"))
TEXTS = st.sampled_from(("", "why", "多字节 \u0007", "x" * 200))
U64 = st.sampled_from((0, 1, 1 << 32, EPOCH_MAX))
EPOCHS = U64.map(Epoch)
SECONDS = st.sampled_from((0.0, 0.1, 1e9))
INSTANTS = st.floats(allow_nan=False, allow_infinity=False)
CHAINS = st.sampled_from((bytes(CHAIN_BYTES), b"\xff" * CHAIN_BYTES))
STARTS = st.builds(EpochStart, EPOCHS, TEXTS, U64, CHAINS, st.sampled_from(Loss), U64)
HISTORIES = st.lists(STARTS, max_size=2).map(tuple)
INTENTS = st.builds(Intent, TEXTS, st.sampled_from(IntentKind), NAMES, U64, TEXTS, TEXTS, st.booleans(), U64)
CHARTERS = st.builds(
    Charter,
    st.just(group()),
    U64,
    U64,
    NAMES,
    TEXTS,
    EPOCHS,
    st.frozensets(NAMES),
    HISTORIES,
    st.none() | INTENTS,
)
GENERATIONS = st.builds(Generation, EPOCHS, U64)
FILES = st.builds(
    FileSetWord, TEXTS, GENERATIONS, GENERATIONS, GENERATIONS, U64, U64, U64, st.just(("x",)), SECONDS
)
RUNS = st.lists(st.builds(EpochRun, EPOCHS, U64, U64, CHAINS), max_size=2).map(tuple)
STATEMENTS = st.builds(
    Statement,
    center=NAMES,
    session=TEXTS,
    incarnation=TEXTS,
    state=st.sampled_from(CopyState),
    promised=EPOCHS,
    follow=EPOCHS,
    first_seq=U64,
    runs=RUNS,
    appended=U64,
    durable=U64,
    applied=U64,
    commit=U64,
    tip=st.builds(Position, EPOCHS, U64, CHAINS),
    unclean=st.booleans(),
    amnesic=st.booleans(),
    token=U64,
    files=st.lists(FILES, max_size=1).map(tuple),
    no_space=TEXTS,
)
TREES = st.builds(
    TreeKnown,
    TEXTS,
    U64,
    st.none() | SECONDS,
    st.dictionaries(NAMES, SECONDS, max_size=2).map(lambda d: tuple(d.items())),
)
LAST = st.builds(LastKnown, U64, U64, U64, INSTANTS, st.lists(TREES, max_size=1).map(tuple))
OBSERVATIONS = st.builds(
    Observation,
    charter=CHARTERS,
    statements=st.lists(STATEMENTS, max_size=2).map(lambda words: {word.center: word for word in words}),
    now=INSTANTS,
    lease=st.builds(LeaseBook, NAMES, INSTANTS, EPOCHS),
    kind=st.sampled_from(IntentKind),
    target=NAMES,
    intent_id=TEXTS,
    uuid=TEXTS,
    actor=TEXTS,
    reason=TEXTS,
    accept_loss=st.booleans(),
    started_us=U64,
    has_begun=st.booleans(),
    begun_epoch=EPOCHS,
    store_ready=TEXTS,
    last_known=st.none() | LAST,
    frozen_since=st.none() | INSTANTS,
)
COMMANDS = st.one_of(
    st.builds(RecordIntent, INTENTS),
    st.builds(Seal, NAMES, EPOCHS),
    st.builds(Freeze, NAMES),
    st.builds(Release, NAMES, EPOCHS),
    st.builds(Prepare, NAMES, EPOCHS, HISTORIES, st.lists(NAMES, max_size=2).map(tuple)),
    st.builds(CommitCharter, U64, CHARTERS),
    st.builds(OpenGroup, NAMES, CHARTERS),
    st.builds(VoidIntent, U64, CHARTERS),
    st.builds(FinishIntent, U64, CHARTERS),
)
REASONS = st.builds(Reason, TEXTS, TEXTS, TEXTS, TEXTS)
PLANS = st.one_of(
    st.builds(Act, st.lists(COMMANDS, min_size=1, max_size=2).map(tuple)),
    st.builds(Wait, TEXTS, st.none() | INSTANTS),
    st.builds(
        Refuse, st.lists(st.builds(Reason, TEXTS, TEXTS, TEXTS, TEXTS), min_size=1, max_size=2).map(tuple)
    ),
    st.builds(Done, TEXTS),
)


@BRIEF
@given(OBSERVATIONS)
def test_an_observation_comes_back_as_it_was(seen: Observation) -> None:
    body = json.loads(control.dump(observation_to_json(seen)))
    assert observation_from_json(body) == seen


@BRIEF
@given(PLANS)
def test_a_plan_comes_back_as_it_was(plan: Plan) -> None:
    body = json.loads(control.dump(plan_to_json(plan)))
    assert plan_from_json(body) == plan


def test_every_field_of_an_observation_is_in_its_form() -> None:
    """Whoever adds a field to the observation has to add it to the form, or decisions are asked wrongly."""
    seen = Observation(plain_charter(), {}, 1.0, LeaseBook(), IntentKind.OPEN, "a", "i", "u")
    assert set(observation_to_json(seen)) == set(Observation.__dataclass_fields__)


def test_a_field_that_an_older_version_did_not_know_has_its_default() -> None:
    seen = Observation(plain_charter(), {}, 1.0, LeaseBook(), IntentKind.OPEN, "a", "i", "u")
    body = observation_to_json(seen)
    for name in ("actor", "accept_loss", "begun_epoch", "last_known", "frozen_since"):
        del body[name]
    assert observation_from_json({**body, "of_a_newer_version": 1}) == seen


@pytest.mark.parametrize(
    "wrong",
    [
        {"act": [{"do": "Explode"}]},
        {"act": "Seal"},
        {"act": []},
        {"act": [{"do": "Seal", "center": "a", "epoch": -1}]},
        {"act": [{"do": "Seal", "center": "a", "epoch": True}]},
        {"wait": 5},
        {"refuse": [{}]},
        {},
        [],
    ],
)
def test_a_plan_that_is_none_is_told_apart(wrong: object) -> None:
    with pytest.raises(MalformedError):
        plan_from_json(wrong)
