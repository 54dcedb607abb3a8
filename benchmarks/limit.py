"""The upper limit: the bare model file in a loop, in one single-threaded process per core.

``python -m benchmarks.limit PRECISION SECONDS`` is one of these processes: it loads the file,
prints "ready", and for each batch size on its input prints the images scored per second.
"""

import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.peers.network import Network
from service.settings import worker_environment


def images_per_second(
    precision: str, batches: Sequence[int], processes: int, seconds: float
) -> dict[int, float]:
    """Images per second of all processes together, by batch size, without HTTP and queues."""
    command = [sys.executable, "-m", "benchmarks.limit", precision, str(seconds)]
    loops = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=worker_environment(),
            text=True,
        )
        for _ in range(processes)
    ]
    try:
        for loop in loops:
            _line(loop)
        return {batch: _together(loops, batch) for batch in batches}
    finally:
        for loop in loops:
            loop.kill()
            loop.communicate()


def _together(loops: Sequence[subprocess.Popen[str]], batch: int) -> float:
    for loop in loops:
        if loop.stdin:
            loop.stdin.write(f"{batch}\n")
            loop.stdin.flush()
    return sum(float(_line(loop)) for loop in loops)


def _line(loop: subprocess.Popen[str]) -> str:
    line = loop.stdout.readline() if loop.stdout else ""
    if not line:
        raise RuntimeError("a loop over the model file ended early")
    return line


def main(precision: str, seconds: float) -> None:
    """Run one process."""
    network = Network(precision)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        batch = int(line)
        faces = np.random.default_rng(0).integers(0, 256, (batch, 64, 64), dtype=np.uint8)
        network.scores(faces)
        done, start = 0, time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            network.scores(faces)
            done += batch
        sys.stdout.write(f"{done / spent}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
