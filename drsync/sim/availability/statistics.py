"""Means of independent repetitions, and how sure they are.

A repetition is a batch of many years with dice of its own, so the repetitions are independent and alike, and
their mean has a Student t interval. Differences between two set-ups are taken repetition by repetition before
that: both lived through the same faults, so most of the chance cancels out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

LEVEL = 0.95
RULE_OF_THREE = 3.0  # because an event that was not seen in n years happens less than 3/n a year, with 95 %


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its 95 % interval."""

    mean: float
    low: float
    high: float


def t_quantile(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t, exact for 1 and 2 degrees of freedom, else within 0.5 %.

    By the expansion in powers of 1/freedom (Abramowitz and Stegun 26.7.5).
    """
    assert freedom >= 1
    if freedom <= len(_SMALL):
        return _SMALL[freedom - 1]
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


_SMALL = (12.706, 4.303, 3.182, 2.776)


def estimate(values: Sequence[float], low: float = -float("inf"), high: float = float("inf")) -> Estimate:
    """The mean of the repetitions, with an interval that stays within what is possible."""
    mean = fmean(values)
    if len(values) == 1:
        return Estimate(mean, low, high)
    half = t_quantile(len(values) - 1) * stdev(values) / len(values) ** 0.5
    return Estimate(mean, max(low, mean - half), min(high, mean + half))


def rate(values: Sequence[float], years: float) -> Estimate:
    """Events a year. Where none was seen the upper bound is that of `years` without one."""
    found = estimate(values, low=0.0)
    if found.mean == 0.0:
        return Estimate(0.0, 0.0, RULE_OF_THREE / years)
    return found


def difference(values: Sequence[float], base: Sequence[float]) -> Estimate:
    """How much larger `values` are than `base`, pair by pair."""
    return estimate([one - other for one, other in zip(values, base, strict=True)])
