"""LitServe: a FastAPI front-end, worker processes, dynamic batching.

Tuned as in its documentation: one worker per core, batching with the smallest timeout that still
batches, the ZeroMQ queue (``fast_queue``), no request log.
"""

from typing import Annotated, Any

import litserve
from fastapi import Body

from benchmarks.peers.network import MAX_BATCH, PORT, WORKERS, Network, face


class Classify(litserve.LitAPI):
    """Decodes and classifies in the worker."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load the model with the worker."""
        self._network = Network()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/jpeg")]) -> bytes:
        """The body unchanged; LitServe inspects this signature."""
        return request

    def batch(self, inputs: list[Any]) -> list[Any]:
        """A batch is kept as a list."""
        return inputs

    def predict(self, x: list[bytes]) -> list[dict[str, Any]]:
        """The answers of a batch."""
        return self._network.answers([face(data) for data in x])

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer per request."""
        return output


if __name__ == "__main__":
    api = Classify(max_batch_size=MAX_BATCH, batch_timeout=0.001)
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=WORKERS, fast_queue=True
    )
    server.run(port=PORT, generate_client_file=False, log_level="warning")
