"""The number of model processes, and of threads in each."""

import pytest

from service.settings import Settings
from service.startup import worker_plan


@pytest.mark.parametrize(
    ("cores", "changes", "plan"),
    [
        (8, {}, (8, 1)),
        (8, {"workers": 2}, (2, 4)),
        (32, {}, (8, 4)),
        (2, {"workers": 4}, (4, 1)),
        (8, {"worker_threads": 3}, (8, 3)),
        (8, {"device": "cuda:1"}, (1, 8)),
    ],
)
def test_cores_are_divided_evenly_among_workers_of_which_a_gpu_has_one(
    cores: int, changes: dict[str, object], plan: tuple[int, int]
) -> None:
    settings = Settings().with_changes(**{"device": "cpu", **changes})
    assert worker_plan(settings, cores) == plan
