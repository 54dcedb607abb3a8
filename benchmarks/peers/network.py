"""What every peer runs: the same model file, preprocessing and answer."""

import io
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from service.imaging import decode, grey_face
from service.records import EMOTIONS

VERSIONS = Path(__file__).parent.parent.parent / "model_store" / "gimefive"
STORE = max(VERSIONS.iterdir(), key=lambda version: int(version.name))
MAX_PIXELS = 50_000_000
MAX_BATCH = 32
WORKERS = len(os.sched_getaffinity(0))
"""One model process per core, each with one torch thread, as in this service."""

PORT = int(os.environ.get("PORT", "0"))


class Network:
    """The model file: int8, fp32 prepared as in this service, or plain (fp32, unprepared)."""

    def __init__(self, precision: str | None = None) -> None:
        """Load the file; the default precision is the environment variable ``PRECISION``."""
        precision = precision or os.environ["PRECISION"]
        artefact = "int8" if precision == "int8" else "fp32"
        entry = json.loads((STORE / "card.json").read_text())["precisions"][artefact]
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        if "engine" in entry:
            torch.backends.quantized.engine = entry["engine"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.jit.load(io.BytesIO((STORE / entry["file"]).read_bytes())).eval()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            if precision == "fp32":
                loaded = torch.jit.optimize_for_inference(torch.jit.freeze(loaded.float()))
            elif precision == "plain":
                loaded = loaded.float()
        self._network = loaded
        for size in (1, 2, 4, 8, 16, MAX_BATCH):
            for _ in range(2):
                self.scores(np.zeros((size, 64, 64), dtype=np.uint8))

    def scores(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities ``[N, 6]`` of grey faces, uint8 ``[N, 64, 64]``."""
        with torch.inference_mode():
            scores: NDArray[np.float32] = self._network(torch.from_numpy(faces)).softmax(1).numpy()
        return scores

    def answers(self, faces: Sequence[NDArray[np.uint8]]) -> list[dict[str, Any]]:
        """The answer for each face."""
        return [answer(row) for row in self.scores(np.stack(faces))]


def face(data: bytes) -> NDArray[np.uint8]:
    """An encoded image as input of the network, uint8 ``[64, 64]``."""
    return grey_face(decode(data, MAX_PIXELS))


def answer(scores: NDArray[np.float32]) -> dict[str, Any]:
    """The emotion and all scores, ready for JSON."""
    named = dict(zip(EMOTIONS, scores.tolist(), strict=True))
    return {"emotion": max(named, key=named.__getitem__), "scores": named}
