"""A drill passes only when everything was proved; each thing that was not is said."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drsync.core.drill import Findings, content_of, judge
from drsync.model.drill import Cleanup, Content, TreeFinding, Verdict, VolumeFinding

GONE = Cleanup("remote", "v", is_proved=True)
EQUAL = VolumeFinding("data", "h", "h", Content.EQUAL)
GOOD = Findings("", (EQUAL,), (GONE,), 1.0, 60.0, 0.1, 15.0)

findings = st.builds(
    Findings,
    failure=st.sampled_from(["", "Broken."]),
    volumes=st.lists(
        st.builds(VolumeFinding, name=st.just("data"), content=st.sampled_from(Content)), max_size=3
    ),
    cleanup=st.lists(
        st.builds(Cleanup, center=st.just("c"), view=st.just("v"), is_proved=st.booleans()), max_size=2
    ),
    rto_s=st.none() | st.sampled_from([1.0, 61.0]),
    rto_target_s=st.just(60.0),
    rpo_s=st.none() | st.sampled_from([1.0, 61.0]),
    rpo_target_s=st.just(60.0),
    trees=st.lists(st.builds(TreeFinding, name=st.just("www"), content=st.sampled_from(Content)), max_size=2),
)


def test_a_drill_without_a_flaw_passes() -> None:
    assert judge(GOOD).verdict is Verdict.PASSED
    assert judge(GOOD).reasons == ()


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replace(GOOD, failure="The disk burned."), "burned"),
        (
            replace(GOOD, volumes=(EQUAL, replace(EQUAL, name="log", content=Content.DIFFERENT))),
            "log differs",
        ),
        (replace(GOOD, volumes=()), "not checked"),
        (replace(GOOD, trees=(TreeFinding("www", content=Content.DIFFERENT),)), "www differs"),
        (replace(GOOD, trees=(TreeFinding("www"),)), "not checked"),
        (replace(GOOD, rto_s=61.0), "took 61.0 s"),
        (replace(GOOD, rpo_s=16.0), "16.0 s old"),
        (replace(GOOD, cleanup=(replace(GONE, is_proved=False),)), "v at remote"),
    ],
)
def test_each_flaw_fails_it_and_is_named(found: Findings, why: str) -> None:
    assert judge(found).verdict is Verdict.FAILED
    assert why in " ".join(judge(found).reasons)


def test_content_that_cannot_be_compared_is_no_pass() -> None:
    found = judge(replace(GOOD, volumes=(EQUAL, replace(EQUAL, content=Content.NOT_COMPARABLE))))
    assert (found.verdict, found.content) == (Verdict.OPENED, Content.NOT_COMPARABLE)
    assert found.reasons


@given(findings)
def test_passed_means_all_of_it(found: Findings) -> None:
    verdict = judge(found).verdict
    if verdict is Verdict.PASSED:
        assert found.parts
        assert all(part.content is Content.EQUAL for part in found.parts)
        assert all(item.is_proved for item in found.cleanup)
        assert not found.failure
        assert found.rto_s is None or found.rto_s <= found.rto_target_s
    else:
        assert judge(found).reasons


@pytest.mark.parametrize(
    ("source", "drilled", "is_comparable", "content"),
    [
        ("a", "a", True, Content.EQUAL),
        ("a", "b", True, Content.DIFFERENT),
        ("", "", True, Content.NOT_CHECKED),
        ("a", "", True, Content.NOT_CHECKED),
        ("", "b", False, Content.NOT_COMPARABLE),
        ("a", "a", False, Content.NOT_COMPARABLE),
    ],
)
def test_hashes_compare(source: str, drilled: str, is_comparable: bool, content: Content) -> None:
    assert content_of(source, drilled, is_comparable=is_comparable) is content
