"""The service over a fake model process: ``python -m tests.fronts PROCESS [ARGUMENT]``."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from service import backoff, front_keeper
from service.serve import serve
from service.settings import Settings
from tests import processes
from tests.servers import Server, running_server


@contextmanager
def fake_model_server(
    process: Callable[[], None], *arguments: str, **settings: object
) -> Iterator[Server]:
    """Run a server with one fake model process."""
    start = [sys.executable, "-m", "tests.fronts", process.__name__, *arguments]
    with running_server("http", start, workers=1, **settings) as server:
        yield server


def two_fronts(
    process: Callable[[], None], *arguments: str, **settings: object
) -> AbstractContextManager[Server]:
    """Run a supervisor with two fronts and one fake model process."""
    return fake_model_server(process, *arguments, fronts=2, **settings)


def fronts_of(server: Server) -> list[int]:
    """The process ids of a supervisor's fronts."""
    return [
        pid
        for pid in server.workers()
        if b"service.front" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


if __name__ == "__main__":
    backoff.MAX_PAUSE = 0.1
    front_keeper.SAMPLES_TIMEOUT = 60  # metrics are exact, however slow a front is
    chosen = processes.PROCESSES[sys.argv[1]]
    serve(Settings(), lambda _: processes.argv(chosen, *sys.argv[2:]))
