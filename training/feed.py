"""The training and validation faces of a run, and the order in which batches are drawn."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import Digests, FaceSet, Split, digests
from training.errors import DataError
from training.network import EMOTIONS


@dataclass(frozen=True)
class Data:
    """The training and validation faces of a run, as tensors that its processes share.

    Attributes:
        faces: uint8 ``[N, 64, 64]``, one data set after the other.
        labels: int64 ``[N]``.
        targets: float32 ``[N, 6]``: the target probabilities.
        numbers: int64 ``[N]``: hashes that assign the faces to folds.
        sizes: the number of these faces in each data set.
        validation_faces: uint8 ``[M, 64, 64]``.
        validation_labels: int64 ``[M]``.
        turns: how often each data set is drawn per round.
        digests: of the data sets.
        crops: uint8 ``[N, 64, 64]``: the same faces, cropped from photographs.
        crop_share: the share of draws that use `crops`.
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
    crops: Tensor | None = None
    crop_share: float = 0.0

    @classmethod
    def of(
        cls, train: Sequence[FaceSet], validation: Sequence[FaceSet], turns: Sequence[int] = ()
    ) -> "Data":
        """Put the sets into shared memory; without `turns` each is drawn equally often.

        The targets are the labels, one-hot.

        Raises:
            DataError: `turns` is not one positive number per training set.
        """
        if turns and (len(turns) != len(train) or min(turns) < 1):
            raise DataError(f"give a number of turns above 0 for each training set, not {turns}")
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

    @classmethod
    def of_splits(cls, splits: Sequence[Split], turns: Sequence[int] = ()) -> "Data":
        """The training and validation parts of data sets; see `of`."""
        return cls.of([s.train for s in splits], [s.validation for s in splits], turns)

    def to(self, device: torch.device) -> "Data":
        """The same data, with the tensors that batches are drawn from on `device`."""
        crops = None if self.crops is None else self.crops.to(device)
        faces, targets = self.faces.to(device), self.targets.to(device)
        return replace(self, faces=faces, targets=targets, crops=crops)

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        """The faces and targets at positions `numbers` of the endless training sequence.

        Data sets take turns, whatever their size. Within a set every face is drawn once before any
        is drawn again, give or take the faces of one round.
        """
        indices = self._on_device(self._indices(numbers, seed))
        faces = self.faces[indices]
        if self.crops is not None:
            cropped = self._on_device(_uniform(numbers, seed) < self.crop_share)
            faces = torch.where(cropped[:, None, None], self.crops[indices], faces)
        return faces, self.targets[indices]

    def taught(self, answers: Tensor, share: float) -> "Data":
        """The same faces, with `share` of each target from `answers`, ``[N, 6]``."""
        return replace(self, targets=torch.lerp(self.targets, answers, share))

    def folds(self, folds: int) -> Tensor:
        """The fold of each face, int64 ``[N]``, 0 to `folds` - 1."""
        return self.numbers % folds

    def where(self, kept: Tensor) -> "Data":
        """The faces for which `kept`, bool ``[N]``, is true, in the same order.

        Raises:
            DataError: no face of some data set is kept.
        """
        sizes = tuple(int(part.sum()) for part in torch.split(kept, list(self.sizes)))
        if 0 in sizes:
            raise DataError("a data set has no face in one of the folds: use fewer folds")
        return replace(
            self,
            faces=self.faces[kept],
            labels=self.labels[kept],
            targets=self.targets[kept],
            numbers=self.numbers[kept],
            sizes=sizes,
            crops=None if self.crops is None else self.crops[kept],
        )

    def photographed(self, crops: Tensor, share: float) -> "Data":
        """The same data, with `share` of the draws from `crops`, which corresponds to `faces`."""
        return replace(self, crops=crops, crop_share=share)

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

    def _indices(self, numbers: range, seed: int) -> NDArray[np.int64]:
        """The index in `faces` of the face at each of the positions `numbers`."""
        turns, sizes = np.array(self.turns), np.array(self.sizes)
        slots = np.repeat(np.arange(len(turns)), turns)
        turn = np.concatenate([np.arange(n) for n in turns])
        rounds, slot = np.divmod(_array(numbers), len(slots))
        # Shifted by one per round, so that processes that take every n-th face see every set.
        slot = (slot + rounds) % len(slots)
        part = slots[slot]
        epochs, places = np.divmod(rounds * turns[part] + turn[slot], sizes[part])
        first = np.cumsum(sizes) - sizes
        for which, epoch in set(zip(part.tolist(), epochs.tolist(), strict=True)):
            drawn = (part == which) & (epochs == epoch)
            order = _order(seed, which, epoch, self.sizes[which])
            places[drawn] = first[which] + order[places[drawn]]
        return places

    def _on_device(self, values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(self.faces.device, non_blocking=True)


def _shared(array: NDArray[np.generic]) -> Tensor:
    tensor: Tensor = torch.from_numpy(array).share_memory_()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return tensor


def _array(numbers: range) -> NDArray[np.int64]:
    return np.arange(numbers.start, numbers.stop, numbers.step)


def _uniform(numbers: range, seed: int) -> NDArray[np.float64]:
    """Uniform draws from 0 to 1, the same for the same position of the same sequence."""
    counter, skipped = divmod(numbers.start, 4)  # Philox yields four numbers per count
    generator = np.random.Generator(np.random.Philox(counter=counter, key=seed))
    return generator.random(skipped + numbers.stop - numbers.start)[skipped :: numbers.step]


@lru_cache(maxsize=8)
def _order(seed: int, part: int, epoch: int, length: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, part, epoch)).permutation(length)
