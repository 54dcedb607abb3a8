"""An open loop by `arrivals.c`: requests come at a constant rate, whatever became of the others."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np

from benchmarks.wrk import Request

SOURCE = Path(__file__).with_suffix(".c")
PATIENCE = 30.0
"""Seconds after which a request that was not answered counts as hung."""


@dataclass(frozen=True)
class Arrivals:
    """What became of requests that came at a constant rate; times in ms since they were due.

    Attributes:
        offered: requests a second.
        requests: were sent.
        accepted: were answered with 200.
        refused: were answered with 429 or 503.
        failed: were answered otherwise, or their connection broke.
        hung: were never answered.
        accepted_ms: the 50th, 99th and 99.9th percentile.
        refused_ms: likewise: how soon a refusal came.
    """

    offered: float
    requests: int
    accepted: int
    refused: int
    failed: int
    hung: int
    accepted_ms: Sequence[float]
    refused_ms: Sequence[float]

    @classmethod
    def of(cls, offered: float, text: str) -> Self:
        """Count what `arrivals.c` says: a line for each request, its status and microseconds."""
        rows = np.array([line.split() for line in text.splitlines()], dtype=float)
        status, ms = rows[:, 0], rows[:, 1] / 1000
        accepted, refused, hung = status == 200, (status == 429) | (status == 503), status == -1
        return cls(
            offered=offered,
            requests=len(rows),
            accepted=int(accepted.sum()),
            refused=int(refused.sum()),
            failed=int((~(accepted | refused | hung)).sum()),
            hung=int(hung.sum()),
            accepted_ms=_percentiles(ms[accepted]),
            refused_ms=_percentiles(ms[refused]),
        )


def open_loop(port: int, request: Request, rate: float, seconds: float) -> Arrivals:
    """Send requests at a constant rate.

    Raises:
        subprocess.SubprocessError: there is no C compiler, or the generator failed.
    """
    with TemporaryDirectory() as folder:
        program, packed = Path(folder, "arrivals"), Path(folder, "request")
        subprocess.run(["cc", "-O2", "-o", program, SOURCE], check=True)  # noqa: S607  # whichever compiler there is
        packed.write_bytes(request.pack())
        ran = subprocess.run(
            [program, str(port), str(rate), str(seconds), str(PATIENCE), packed],
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 2 * PATIENCE,
        )
    return Arrivals.of(rate, ran.stdout)


def _percentiles(ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    return [round(float(p), 2) for p in np.percentile(ms, [50, 99, 99.9])] if len(ms) else []
