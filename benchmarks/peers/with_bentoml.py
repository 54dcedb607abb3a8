"""BentoML: a service that decodes, in front of a service with adaptive batching.

Tuned as in its documentation: clients send one image each, so a wrapper service with an async
client calls the batchable one; one worker per core for the model; the adaptive batcher with its
default latency. Under load it still refuses requests.
"""

from pathlib import Path
from typing import Any

import bentoml
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.network import MAX_BATCH, WORKERS, Network, answer, face

QUIET = {"access": {"enabled": False}}


@bentoml.service(workers=WORKERS, logging=QUIET, traffic={"timeout": 30})
class Scorer:
    """The model."""

    def __init__(self) -> None:
        self._network = Network()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH)
    def score(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scores ``[N, 6]`` of faces ``[N, 64, 64]``."""
        return self._network.scores(np.ascontiguousarray(faces, dtype=np.uint8))


@bentoml.service(workers=1, logging=QUIET, traffic={"timeout": 30})
class Classify:
    """The service for clients."""

    scorer = bentoml.depends(Scorer)

    @bentoml.api
    async def classify(self, image: Path) -> dict[str, Any]:
        """Classify one crop."""
        faces = face(image.read_bytes())[None]  # noqa: ASYNC240  # as in its documentation
        return answer((await self.scorer.to_async.score(faces))[0])
