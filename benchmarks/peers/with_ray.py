"""Ray Serve: replicas behind a proxy, batching inside each replica.

Tuned as in its documentation: one replica per core, ``serve.batch``, enough ongoing requests to
fill a batch, the throughput-optimised setting, no access log.
"""

import os
from typing import Any

os.environ["RAY_SERVE_THROUGHPUT_OPTIMIZED"] = "1"

import ray
from ray import serve
from ray.serve.schema import LoggingConfig
from starlette.requests import Request

from benchmarks.peers.network import MAX_BATCH, PORT, WORKERS, Network, face


@serve.deployment(
    num_replicas=WORKERS,
    max_ongoing_requests=4 * MAX_BATCH,
    ray_actor_options={"num_cpus": 1},
    logging_config=LoggingConfig(enable_access_log=False),
)
class Classify:
    """Decodes and classifies in the replica."""

    def __init__(self) -> None:
        self._network = Network()

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Classify one crop."""
        return dict(await self._batch(await request.body()))

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=0.001)
    async def _batch(self, bodies: list[bytes]) -> list[dict[str, Any]]:
        return self._network.answers([face(data) for data in bodies])


if __name__ == "__main__":
    ray.init(num_cpus=2 * WORKERS, include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Classify.bind(), blocking=True)
