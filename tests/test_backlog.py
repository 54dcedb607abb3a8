"""How long outstanding work should take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.backlog import Backlog

costs = st.tuples(st.floats(0.001, 1), st.floats(0, 1))
items = st.lists(st.tuples(st.sampled_from(["picture", "frame"]), st.integers(1, 50)), max_size=9)


@given(picture=costs, frame=costs, done=items, waiting=items, threads=st.integers(1, 8))
def test_the_threads_share_what_all_outstanding_items_take(
    picture: tuple[float, float],
    frame: tuple[float, float],
    done: list[tuple[str, int]],
    waiting: list[tuple[str, int]],
    threads: int,
) -> None:
    costs = {"picture": picture, "frame": frame}

    def takes(kind: str, size: int) -> float:
        slope, base = costs[kind]
        return slope * size + base

    backlog = Backlog(threads)
    for kind, size in done + waiting:
        backlog.enter(kind, size)
    assert backlog.seconds == 0, "nothing is known yet"
    for kind in costs:
        for size in (1, 50):
            backlog.learn(kind, size, takes(kind, size), failed=False)
    for kind, size in done:
        backlog.leave(kind, size)
    assert len(backlog) == len(waiting)
    assert backlog.seconds == pytest.approx(sum(takes(*item) for item in waiting) / threads)
    assert backlog.expected("frame") == pytest.approx(takes("frame", 1))


def test_work_that_gets_faster_is_expected_to_take_less() -> None:
    backlog = Backlog(1)
    for seconds in [10.0] * 50 + [1.0] * 100:
        backlog.learn("frame", 1, seconds, failed=False)
    assert backlog.expected("frame") == pytest.approx(1, rel=0.1)
