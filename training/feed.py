"""What a run learns from and watches, and the order in which every batch is drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import Digests, FaceSet, digests
from training.errors import DataError
from training.network import EMOTIONS


@dataclass(frozen=True)
class Data:
    """What a run learns from and watches, as tensors that processes share.

    Attributes:
        faces: uint8 ``[N, 64, 64]``, one data set after the other.
        labels: int64 ``[N]``.
        targets: float32 ``[N, 6]``: the probabilities to learn.
        numbers: int64 ``[N]``: what decides which fold a face is in.
        sizes: how many of these faces each data set has.
        validation_faces: uint8 ``[M, 64, 64]``.
        validation_labels: int64 ``[M]``.
        turns: how often each data set is drawn in a round.
        digests: of the data sets.
        cut: uint8 ``[N, 64, 64]``: the same faces, cut out of photographs.
        share: part of the draws that give those.
    """

    faces: Tensor
    labels: Tensor
    targets: Tensor
    numbers: Tensor
    sizes: tuple[int, ...]
    validation_faces: Tensor
    validation_labels: Tensor
    turns: tuple[int, ...]
    digests: Digests
    cut: Tensor | None = None
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
        labels = np.concatenate([s.labels for s in train])
        return cls(
            faces=_shared(np.concatenate([s.faces for s in train])),
            labels=_shared(labels),
            targets=_shared(np.eye(len(EMOTIONS), dtype=np.float32)[labels]),
            numbers=_shared(np.concatenate([s.numbers for s in train])),
            sizes=tuple(len(s) for s in train),
            validation_faces=_shared(np.concatenate([s.faces for s in validation])),
            validation_labels=_shared(np.concatenate([s.labels for s in validation])),
            turns=tuple(turns) or (1,) * len(train),
            digests=digests(train, validation),
        )

    def to(self, device: torch.device) -> "Data":
        """The same data, what batches are drawn from on `device`."""
        cut = None if self.cut is None else self.cut.to(device)
        faces, targets = self.faces.to(device), self.targets.to(device)
        return replace(self, faces=faces, targets=targets, cut=cut)

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        """The faces and targets at places `numbers` of the endless training sequence.

        The sets take their turns, however large they are; within a set every face comes once before
        any comes again, give or take the faces of one round.
        """
        indices = self._beside_faces(self._places(numbers, seed))
        faces = self.faces[indices]
        if self.cut is not None:
            instead = self._beside_faces(_chances(numbers, seed) < self.share)
            faces = torch.where(instead[:, None, None], self.cut[indices], faces)
        return faces, self.targets[indices]

    def taught(self, answers: Tensor, share: float) -> "Data":
        """The same faces, with `share` of each target from `answers`, ``[N, 6]``."""
        return replace(self, targets=torch.lerp(self.targets, answers, share))

    def folds(self, folds: int) -> Tensor:
        """In which fold each face is, int64 ``[N]``, 0 to `folds` - 1."""
        return self.numbers % folds

    def where(self, kept: Tensor) -> "Data":
        """The faces for which `kept`, bool ``[N]``, is true, in the same order.

        Raises:
            DataError: of a data set there is none.
        """
        sizes = tuple(int(part.sum()) for part in torch.split(kept, list(self.sizes)))
        if 0 in sizes:
            raise DataError("a data set has no face in one of the folds: cut it in fewer")
        return replace(
            self,
            faces=self.faces[kept],
            labels=self.labels[kept],
            targets=self.targets[kept],
            numbers=self.numbers[kept],
            sizes=sizes,
            cut=None if self.cut is None else self.cut[kept],
        )

    def photographed(self, cut: Tensor, share: float) -> "Data":
        """The same data, `share` of the draws giving faces of `cut`, which is like `faces`."""
        return replace(self, cut=cut, share=share)

    def class_weights(self, balance: float) -> Tensor:
        """Loss weights float32 ``[6]``: frequency to the power of -`balance`, one on average.

        Raises:
            DataError: no training set has a face of some emotion.
        """
        parts = torch.split(self.labels, list(self.sizes))
        shares = [torch.bincount(part, minlength=len(EMOTIONS)) / len(part) for part in parts]
        turns = torch.tensor(self.turns, dtype=torch.float32)
        frequency = turns @ torch.stack(shares) / turns.sum()
        missing = [e for e, share in zip(EMOTIONS, frequency, strict=True) if share == 0]
        if missing:
            raise DataError(f"no training set has a face that shows {', '.join(missing)}")
        weights = frequency**-balance
        return weights / (weights * frequency).sum()

    def _places(self, numbers: range, seed: int) -> NDArray[np.int64]:
        """The index in `faces` of what comes at each of the places `numbers`."""
        turns, sizes = np.array(self.turns), np.array(self.sizes)
        slots = np.repeat(np.arange(len(turns)), turns)
        turn = np.concatenate([np.arange(n) for n in turns])
        rounds, slot = np.divmod(_array(numbers), len(slots))
        # One place on each round: processes that take every n-th face then see every set.
        slot = (slot + rounds) % len(slots)
        part = slots[slot]
        epochs, places = np.divmod(rounds * turns[part] + turn[slot], sizes[part])
        first = np.cumsum(sizes) - sizes
        for which, epoch in set(zip(part.tolist(), epochs.tolist(), strict=True)):
            drawn = (part == which) & (epochs == epoch)
            order = _order(seed, which, epoch, self.sizes[which])
            places[drawn] = first[which] + order[places[drawn]]
        return places

    def _beside_faces(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(self.faces.device, non_blocking=True)


def _shared(array: NDArray[np.generic]) -> Tensor:
    tensor: Tensor = torch.from_numpy(array).share_memory_()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return tensor


def _array(numbers: range) -> NDArray[np.int64]:
    return np.arange(numbers.start, numbers.stop, numbers.step)


def _chances(numbers: range, seed: int) -> NDArray[np.float64]:
    """Evenly from 0 to 1, the same for the same place of the same sequence."""
    counter, skipped = divmod(numbers.start, 4)  # each count of Philox gives four numbers
    generator = np.random.Generator(np.random.Philox(counter=counter, key=seed))
    return generator.random(skipped + numbers.stop - numbers.start)[skipped :: numbers.step]


@lru_cache(maxsize=8)
def _order(seed: int, part: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, part, epoch)).permutation(length)
