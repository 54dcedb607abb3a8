"""Mosec: its Rust front-end batches for Python worker processes.

Tuned as in its documentation: a single stage, because each stage adds a process hop; one worker per
core; the shortest wait for a batch, 1 ms instead of 10, because batches form anyway while workers
are busy.
"""

from typing import Any

from mosec import Server, Worker

from benchmarks.peers.network import MAX_BATCH, WORKERS, Network, face


class Classify(Worker):
    """Decodes and classifies in the worker."""

    def __init__(self) -> None:
        super().__init__()
        self._network = Network()

    def deserialize(self, data: bytes) -> Any:  # noqa: ANN401  # mosec's signature
        """An image as input of the network."""
        return face(data)

    def forward(self, data: list[Any]) -> list[dict[str, Any]]:
        """The answers of a batch."""
        return self._network.answers(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Classify, num=WORKERS, max_batch_size=MAX_BATCH, max_wait_time=1)
    server.run()
