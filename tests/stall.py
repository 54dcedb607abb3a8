"""Run a command while its processes are stopped at random, as on a busy machine.

A test that fails this way depends on timing, and will fail in CI some day::

    python -m tests.stall python -m pytest tests/test_live.py
"""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.processes import MARK, Processes

PAUSES = (0.02, 0.2)
"""Shortest and longest time between two stops, in seconds."""

STOPS = (0.05, 0.5)
"""Shortest and longest stop, in seconds."""


def main(command: Sequence[str]) -> int:
    """Run a command, and return its exit status."""
    mark = uuid.uuid4().hex
    with subprocess.Popen(command, env={**os.environ, MARK: mark}) as run:
        processes = Processes(run.pid, mark)
        while run.poll() is None:
            time.sleep(random.uniform(*PAUSES))  # noqa: S311  # no secret
            if pids := processes.pids():
                stop(random.choice(pids), random.uniform(*STOPS))  # noqa: S311  # likewise
    return run.returncode


def stop(pid: int, seconds: float) -> None:
    """Stop a process, if it still exists, for so many seconds."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
