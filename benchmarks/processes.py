"""A server as a set of processes: started, monitored, and stopped with all its children."""

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from benchmarks.pictures import ROOT
from benchmarks.wrk import Request

MARK = "BENCHMARK_OF_GIMEFIVE"
"""An environment variable that all processes of a server inherit, even detached ones."""

STOP_SECONDS = 15
TICKS = os.sysconf("SC_CLK_TCK")


class DidNotStartError(Exception):
    """A server did not start; the message ends with the last lines of its output."""


class Processes:
    """All processes with the same mark in their environment."""

    def __init__(self, main: int, mark: str) -> None:
        self.main = main
        self._mark = f"{MARK}={mark}".encode()

    def pids(self) -> list[int]:
        """The running processes."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                with suppress(OSError):
                    if self._mark in (folder / "environ").read_bytes().split(b"\0"):
                        found.append(int(folder.name))
        return found

    def cpu_seconds(self, pids: Sequence[int] | None = None) -> float:
        """CPU time of all processes, or of `pids`, including children that have ended."""
        ticks = 0
        for pid in self.pids() if pids is None else pids:
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += sum(int(field) for field in fields[11:15])
        return ticks / TICKS

    def memory(self, pids: Sequence[int] | None = None) -> int:
        """Memory of all processes, or of `pids`, in bytes (PSS: shared pages count in shares)."""
        total = 0
        for pid in self.pids() if pids is None else pids:
            with suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += int(rollup.partition("\nPss:")[2].split()[0]) * 1024
        return total

    def settle(self) -> None:
        """Wait until the processes are idle: some continue starting after their first answer."""
        for _ in range(60):
            before = self.cpu_seconds()
            time.sleep(0.5)
            if self.cpu_seconds() - before < 0.1:
                break

    def stop(self) -> None:
        """Terminate the processes; kill those that remain after `STOP_SECONDS`."""
        with suppress(ProcessLookupError):
            os.kill(self.main, signal.SIGTERM)
        limit = time.monotonic() + STOP_SECONDS
        while self.pids() and time.monotonic() < limit:
            time.sleep(0.1)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def running(
    command: Sequence[str],
    environment: Mapping[str, str],
    is_ready: Callable[[], bool],
    log: Path,
    patience: float,
) -> Iterator[tuple[Processes, float]]:
    """A server until the block ends, and the seconds from its start to its first good answer.

    Raises:
        DidNotStartError: it exited, was not ready after `patience` seconds, or another server
            answers at its address.
    """
    if is_ready():
        raise DidNotStartError("another server already answers at this address")
    mark = uuid.uuid4().hex
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment, MARK: mark},
            cwd=ROOT,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    processes = Processes(process.pid, mark)
    try:
        while not is_ready():
            late = time.monotonic() - start > patience
            if late or process.poll() is not None:
                last = log.read_text(errors="replace").splitlines()[-5:]
                raise DidNotStartError(
                    "\n".join(["not ready in time" if late else "exited", *last])
                )
            time.sleep(0.02)
        yield processes, time.monotonic() - start
    finally:
        processes.stop()
        process.wait()


def answers(client: httpx.Client, url: str, request: Request) -> bool:
    """Whether a request is answered successfully.

    The client is passed in because creating one costs more than a request.
    """
    with suppress(httpx.HTTPError):
        headers = {"Content-Type": request.kind, **dict(request.headers)}
        return client.post(url, content=request.body, headers=headers).is_success
    return False
