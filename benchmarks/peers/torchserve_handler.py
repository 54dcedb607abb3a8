"""TorchServe: a Java front-end that batches for Python workers, which run this module.

Tuned as in its documentation: one worker per core, ``batchSize`` with the smallest
``maxBatchDelay``, no metrics and no access log.
"""

from typing import Any

from benchmarks.peers.network import Network, face


class Classify:
    """The entry point of the archive."""

    def initialize(self, context: object) -> None:  # noqa: ARG002  # TorchServe's signature
        """Load the model with the worker."""
        self._network = Network()

    def handle(self, requests: list[dict[str, Any]], context: object) -> list[dict[str, Any]]:  # noqa: ARG002  # TorchServe's signature
        """The answers of a batch."""
        bodies = [request.get("body") or request["data"] for request in requests]
        return self._network.answers([face(bytes(body)) for body in bodies])


_handler = Classify()


def handle(requests: list[dict[str, Any]] | None, context: object) -> list[dict[str, Any]]:
    """The function that TorchServe calls, the first time without requests."""
    if requests is None:
        _handler.initialize(context)
        return []
    return _handler.handle(requests, context)
