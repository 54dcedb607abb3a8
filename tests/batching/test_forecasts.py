import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.forecasts import Cost, SafetyMargin


@given(
    slope=st.floats(0.001, 1), base=st.floats(0, 1), sizes=st.lists(st.integers(1, 64), min_size=2)
)
def test_the_linear_cost_of_a_batch_is_learned(slope: float, base: float, sizes: list[int]) -> None:
    cost = Cost()
    for size in sizes:
        cost.learn(size, slope * size + base)
    if len(set(sizes)) > 1 and len(sizes) < 50:
        assert cost.fit() == pytest.approx((slope, base), rel=1e-3, abs=1e-3)
        in_three = slope * 130 + base * 3  # of 64, 64 and 2 items
        assert cost.seconds(130, 64) == pytest.approx(in_three, rel=1e-2, abs=1e-2)
    for size in set(sizes):
        assert cost.seconds(size, 64) >= 0


def test_without_observations_a_batch_costs_nothing_and_one_item_fits() -> None:
    assert Cost().seconds(10, 8) == 0
    assert Cost().fitting(1.0) == 1


@given(slope=st.floats(0.001, 1), base=st.floats(0, 1), budget=st.floats(0.001, 10))
def test_the_largest_batch_within_the_budget_is_allowed_and_always_one_item(
    slope: float, base: float, budget: float
) -> None:
    cost = Cost()
    for size in (1, 64):
        cost.learn(size, slope * size + base)
    allowed = cost.fitting(budget)
    assert allowed == 1 or slope * allowed + base <= budget + 1e-6
    assert slope * (allowed + 1) + base > budget - 1e-6


@given(st.floats(-10, 10))
def test_a_constant_error_becomes_the_margin(error: float) -> None:
    margin = SafetyMargin()
    for _ in range(500):
        margin.learn(error)
    assert margin.seconds == pytest.approx(error, abs=1e-3)


def test_the_margin_exceeds_most_varying_errors() -> None:
    errors = np.random.default_rng(1).normal(1.0, 0.5, 2000)
    margin = SafetyMargin()
    short = 0
    for error in errors:
        short += error > margin.seconds
        margin.learn(error)
    assert 0.01 < short / len(errors) < 0.15


def test_old_observations_are_forgotten() -> None:
    cost = Cost()
    for pace in (1.0, 10.0):
        for items in [1, 4] * 50:
            cost.learn(items, pace * items)
    assert cost.seconds(1, 8) == pytest.approx(10, rel=0.05)


def test_a_predicted_cost_is_never_negative() -> None:
    cost = Cost()
    for items, seconds in ((2, 0.1), (8, 8.0), (2, 0.1), (8, 8.0)):
        cost.learn(items, seconds)
    assert cost.seconds(1, 8) >= 0


def test_a_constant_batch_cost_allows_large_batches_within_the_budget() -> None:
    cost = Cost()
    for items, seconds in ((1, 0.0041), (256, 0.004)) * 5:
        cost.learn(items, seconds)
    assert cost.fitting(0.01) >= 256
    assert cost.fitting(0.001) == 1


@pytest.mark.parametrize(("items", "least"), [(1, 0.5), (2, 1.0), (8, 1.0)])
def test_a_batch_larger_than_the_only_size_observed_may_take_no_longer(
    items: int, least: float
) -> None:
    cost = Cost()
    for _ in range(3):
        cost.learn(2, 1.0)
    assert cost.least_seconds(items) == pytest.approx(least)


def test_after_batches_of_several_sizes_the_least_time_is_the_predicted_one() -> None:
    cost = Cost()
    for items in (1, 2):
        cost.learn(items, 0.1 * items + 1.0)
    assert cost.least_seconds(8) == pytest.approx(1.8)


def test_without_observations_a_batch_may_take_no_time() -> None:
    assert Cost().least_seconds(8) == 0
