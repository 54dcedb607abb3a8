"""Triton with its Python backend, which runs this module.

Tuned as in its documentation: dynamic batching without a delay, one instance per core.
"""

import json
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

from benchmarks.peers.network import Network, face


class TritonPythonModel:
    """The model in Triton's interface."""

    def initialize(self, arguments: dict[str, str]) -> None:  # noqa: ARG002  # Triton's signature
        """Load the model with the instance."""
        self._network = Network()

    def execute(self, requests: list[Any]) -> list[Any]:
        """The answers of a batch."""
        images = [triton.get_input_tensor_by_name(r, "image").as_numpy() for r in requests]
        answers = self._network.answers([face(data) for image in images for data in image.ravel()])
        texts = iter(json.dumps(each).encode() for each in answers)
        return [
            triton.InferenceResponse(
                [
                    triton.Tensor(
                        "answer",
                        np.array([[next(texts)] for _ in range(len(image))], dtype=np.object_),
                    )
                ]
            )
            for image in images
        ]
