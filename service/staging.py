"""Moving a batch to the device and its logits back: one copy each way."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from service.records import EMOTIONS, FACE_SIZE

Logits = NDArray[np.float32]
"""``[N, 6]``."""

Compute = Callable[[Tensor], Tensor]
"""From uint8 faces ``[N, 64, 64]`` on the device to float32 logits ``[N, 6]`` there."""


def on_cpu(compute: Compute) -> Callable[[NDArray[np.uint8]], Logits]:
    """Run on the CPU, where nothing needs to be copied."""

    def run(faces: NDArray[np.uint8]) -> Logits:
        logits: Logits = compute(torch.from_numpy(faces)).numpy()
        return logits

    return run


class OnCuda:
    """Run on a GPU, with pinned buffers and a captured graph for each power of two of a batch.

    Not thread-safe.
    """

    def __init__(self, compute: Compute, device: torch.device) -> None:
        self._compute = compute
        self._device = device
        self._buckets: dict[int, _Bucket] = {}

    def __call__(self, faces: NDArray[np.uint8]) -> Logits:
        """Logits float32 ``[N, 6]`` of faces uint8 ``[N, 64, 64]``."""
        size = bucket(len(faces))
        if size not in self._buckets:
            self._buckets[size] = _Bucket(self._compute, size, self._device)
        return self._buckets[size].run(faces)


class _Bucket:
    """Buffers for batches of up to `size` faces, and a CUDA graph that computes them."""

    def __init__(self, compute: Compute, size: int, device: torch.device) -> None:
        self._sent = torch.zeros((size, FACE_SIZE, FACE_SIZE), dtype=torch.uint8).pin_memory()
        self._faces = self._sent.to(device)
        self._fetched = torch.zeros((size, len(EMOTIONS))).pin_memory()
        beside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            for _ in range(3):  # torch selects kernels in the first passes
                compute(self._faces)
        torch.cuda.current_stream(device).wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = compute(self._faces)

    def run(self, faces: NDArray[np.uint8]) -> Logits:
        """Copy to the device, replay, copy back; rows beyond those of `faces` are ignored."""
        count = len(faces)
        self._sent[:count].copy_(torch.from_numpy(faces))
        self._faces[:count].copy_(self._sent[:count], non_blocking=True)
        self._graph.replay()
        self._fetched[:count].copy_(self._logits[:count], non_blocking=True)
        torch.cuda.current_stream(self._faces.device).synchronize()
        return self._fetched[:count].numpy().copy()


def bucket(size: int) -> int:
    """The smallest power of two that holds `size`."""
    return 1 << (size - 1).bit_length()
