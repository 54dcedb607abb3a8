"""Open-loop load by `arrivals.c`: requests at a constant rate, answered or not."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np

from benchmarks.wrk import Request

SOURCE = Path(__file__).with_suffix(".c")
HUNG_AFTER = 30.0
"""Seconds after which an unanswered request counts as hung."""


@dataclass(frozen=True)
class Arrivals:
    """The results of requests at a constant rate; latencies count from when a request is due.

    Attributes:
        offered: requests per second.
        requests: number sent.
        accepted: number answered with 200.
        refused: number answered with 429 or 503.
        failed: number answered otherwise, or with a broken connection.
        hung: number never answered.
        accepted_ms: latency of accepted requests: 50th, 99th and 99.9th percentile.
        refused_ms: the same percentiles for refused requests.
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
        """Parse the output of `arrivals.c`: per request a line with its status and microseconds."""
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
            [program, str(port), str(rate), str(seconds), str(HUNG_AFTER), packed],
            capture_output=True,
            text=True,
            check=True,
            timeout=seconds + 2 * HUNG_AFTER,
        )
    return Arrivals.of(rate, ran.stdout)


def _percentiles(ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[float]:
    return [round(float(p), 2) for p in np.percentile(ms, [50, 99, 99.9])] if len(ms) else []
