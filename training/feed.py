"""What a run learns from and watches, and the order in which every batch is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import FaceSet
from training.errors import DataError
from training.network import EMOTIONS


@dataclass(frozen=True)
class Data:
    """What a run learns from and watches, as tensors that processes share.

    Attributes:
        faces: per data set, uint8 ``[N, 64, 64]``.
        labels: per data set, int64 ``[N]``.
        validation_faces: uint8 ``[M, 64, 64]``.
        validation_labels: int64 ``[M]``.
    """

    faces: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    validation_faces: Tensor
    validation_labels: Tensor

    @classmethod
    def of(cls, train: Sequence[FaceSet], validation: Sequence[FaceSet]) -> "Data":
        """Put the sets into shared memory."""
        return cls(
            faces=tuple(_shared(s.faces) for s in train),
            labels=tuple(_shared(s.labels) for s in train),
            validation_faces=_shared(np.concatenate([s.faces for s in validation])),
            validation_labels=_shared(np.concatenate([s.labels for s in validation])),
        )

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        """The faces and labels at places `numbers` of the endless training sequence.

        The sets take turns, so that each is drawn equally often however large it is; within a set
        every face comes once before any comes again.
        """
        places = [_place(number, [len(part) for part in self.labels], seed) for number in numbers]
        faces = torch.stack([self.faces[part][index] for part, index in places])
        labels = torch.stack([self.labels[part][index] for part, index in places])
        return faces, labels

    def class_weights(self) -> Tensor:
        """Loss weights float32 ``[6]``: one over the root of a class's frequency, one on average.

        Raises:
            DataError: no training set has a face of some emotion.
        """
        shares = [torch.bincount(part, minlength=len(EMOTIONS)) / len(part) for part in self.labels]
        frequency = torch.stack(shares).mean(dim=0)
        missing = [e for e, share in zip(EMOTIONS, frequency, strict=True) if share == 0]
        if missing:
            raise DataError(f"no training set has a face that shows {', '.join(missing)}")
        weights = frequency.rsqrt()
        return weights / (weights * frequency).sum()


def _shared(array: NDArray[np.generic]) -> Tensor:
    tensor: Tensor = torch.from_numpy(array).share_memory_()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return tensor


@lru_cache(maxsize=8)
def _order(seed: int, part: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, part, epoch)).permutation(length)


def _place(number: int, lengths: Sequence[int], seed: int) -> tuple[int, int]:
    turn, part = divmod(number, len(lengths))
    epoch, index = divmod(turn, lengths[part])
    return part, int(_order(seed, part, epoch, lengths[part])[index])
