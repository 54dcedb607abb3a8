"""What a run learns from and watches, and the order in which every batch is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
        targets: per data set, float32 ``[N, 6]``: the probabilities to learn.
        validation_faces: uint8 ``[M, 64, 64]``.
        validation_labels: int64 ``[M]``.
        turns: how often each data set is drawn in a round.
        cut: per data set, uint8 ``[N, 64, 64]``: the same faces, cut out of photographs.
        share: part of the draws that give those.
    """

    faces: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]
    validation_faces: Tensor
    validation_labels: Tensor
    turns: tuple[int, ...]
    cut: tuple[Tensor, ...] = ()
    share: float = 0.0

    @classmethod
    def of(
        cls, train: Sequence[FaceSet], validation: Sequence[FaceSet], turns: Sequence[int] = ()
    ) -> "Data":
        """Put the sets into shared memory; without `turns` each is drawn equally often.

        What is to be learned are the labels.

        Raises:
            DataError: `turns` is not one positive number a training set.
        """
        if turns and (len(turns) != len(train) or min(turns) < 1):
            raise DataError(f"{len(train)} training sets need as many turns above 0, not {turns}")
        certain = np.eye(len(EMOTIONS), dtype=np.float32)
        return cls(
            faces=tuple(_shared(s.faces) for s in train),
            labels=tuple(_shared(s.labels) for s in train),
            targets=tuple(_shared(certain[s.labels]) for s in train),
            validation_faces=_shared(np.concatenate([s.faces for s in validation])),
            validation_labels=_shared(np.concatenate([s.labels for s in validation])),
            turns=tuple(turns) or (1,) * len(train),
        )

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        """The faces and targets at places `numbers` of the endless training sequence.

        The sets take their turns, however large they are; within a set every face comes once before
        any comes again, give or take the faces of one round.
        """
        places = [self._place(number, seed) for number in numbers]
        photographed = [_chance(seed, number) < self.share for number in numbers]
        faces = torch.stack(
            [
                (self.cut if instead else self.faces)[part][index]
                for instead, (part, index) in zip(photographed, places, strict=True)
            ]
        )
        targets = torch.stack([self.targets[part][index] for part, index in places])
        return faces, targets

    def taught(self, answers: Sequence[Tensor], share: float) -> "Data":
        """The same faces, with `share` of each target from `answers`, per data set ``[N, 6]``."""
        pairs = zip(self.targets, answers, strict=True)
        return replace(self, targets=tuple(torch.lerp(*pair, share) for pair in pairs))

    def photographed(self, cut: Sequence[Tensor], share: float) -> "Data":
        """The same data, `share` of the draws giving faces of `cut`, per data set as `faces`."""
        return replace(self, cut=tuple(cut), share=share)

    def class_weights(self, balance: float) -> Tensor:
        """Loss weights float32 ``[6]``: frequency to the power of -`balance`, one on average.

        Raises:
            DataError: no training set has a face of some emotion.
        """
        shares = [torch.bincount(part, minlength=len(EMOTIONS)) / len(part) for part in self.labels]
        turns = torch.tensor(self.turns, dtype=torch.float32)
        frequency = turns @ torch.stack(shares) / turns.sum()
        missing = [e for e, share in zip(EMOTIONS, frequency, strict=True) if share == 0]
        if missing:
            raise DataError(f"no training set has a face that shows {', '.join(missing)}")
        weights = frequency**-balance
        return weights / (weights * frequency).sum()

    def _place(self, number: int, seed: int) -> tuple[int, int]:
        """The data set, and the face in it, that comes at place `number`."""
        slots = [(part, turn) for part, turns in enumerate(self.turns) for turn in range(turns)]
        rounds, slot = divmod(number, len(slots))
        # One place on each round: processes that take every n-th face then see every set.
        part, turn = slots[(slot + rounds) % len(slots)]
        length = len(self.labels[part])
        epoch, index = divmod(rounds * self.turns[part] + turn, length)
        return part, int(_order(seed, part, epoch, length)[index])


def _shared(array: NDArray[np.generic]) -> Tensor:
    tensor: Tensor = torch.from_numpy(array).share_memory_()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return tensor


def _chance(seed: int, number: int) -> float:
    """Evenly from 0 to 1, the same for the same place of the same sequence."""
    return np.random.default_rng((seed, number)).random()


@lru_cache(maxsize=8)
def _order(seed: int, part: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, part, epoch)).permutation(length)
