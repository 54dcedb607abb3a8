"""The number of model processes, and of threads in each."""

import pytest

from service import startup
from service.settings import Settings


@pytest.mark.parametrize(
    ("cores", "workers", "plan"),
    [(8, None, (8, 1)), (8, 2, (2, 4)), (32, None, (8, 4)), (2, 4, (4, 1))],
)
def test_cores_are_divided_evenly_among_workers(
    cores: int, workers: int | None, plan: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "available_cpus", lambda: cores)
    assert startup._worker_plan(Settings(device="cpu", workers=workers)) == plan
