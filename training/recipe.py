"""All choices of a training run in one frozen value, so that it can be repeated."""

import json
from dataclasses import asdict, field
from math import cos, pi
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass

from training.augment import EXACTLY, Augmentation, Fraction
from training.errors import RunError


@dataclass(frozen=True, config=EXACTLY)
class Stage:
    """A stage of training at one resolution.

    Attributes:
        share: the share of all image passes spent here; the shares of a recipe sum to 1.
        pixels: side of the square input.
    """

    share: Fraction
    pixels: PositiveInt


@dataclass(frozen=True, config=EXACTLY)
class Recipe:
    """All choices of a training run.

    Attributes:
        network: ``GiMeFive``, or ``Residual``, a deeper one that can only teach.
        images: image passes in total.
        batch: images per step, over all processes.
        optimizer: ``AdamW``, or ``SGD`` with a Nesterov momentum of 0.9.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: on weights of convolutions and linear layers; not on biases and norms.
        warm_up: share of the steps in which the learning rate rises, before its cosine decay.
        balance: class weights of the loss are one over the frequency to this power.
        label_smoothing: probability mass spread evenly over the classes.
        bootstrapping: share of each target that is the network's own prediction.
        mixup: both parameters of the beta distribution of mixing shares; 0 for no mixup.
        sharpness: radius of sharpness-aware minimisation (Foret et al., arXiv 2010.01412); above 0
            each face passes twice.
        consistency: weight of the divergence between the predictions for a face and its mirror
            image; above 0 each face passes twice.
        dropout: factor on the published dropout (0.2 after a block, 0.5 between linear layers).
        linear_dropout: the factor between linear layers, if not `dropout`.
        precision: of multiplications: ``fp32``, or ``bf16``, which is faster on a CPU or GPU that
            supports it. Weights stay in fp32.
        ema: decay per step of the exponential moving average of the weights.
        until: share of the steps after which the run ends, so that another can continue while the
            learning rate is still high.
        stages: progressive resolution, small to large.
        augmentation: of the images of each batch.
        turns: how often each data set is drawn per round, in the order given; once each if empty.
        after: faces drawn by previous runs, whose order this one continues.
        photographed: share of faces cropped from photographs as the service crops them.
        folds: number of folds of the training faces, assigned by file name.
        left_out: the fold to leave out of training, 0 to `folds` - 1, so that the network can teach
            others about faces whose labels it has not seen; none if empty.
        start: folder of a finished run or of a version with the initial weights; random if empty.
        teachers: folders like `start`; the mean prediction of their networks is part of the target.
        teachers_see: ``faces``: each face and its mirror image once, before the first step;
            ``inputs``: at every step the network's inputs, augmented and mixed (Beyer et al.,
            *Knowledge distillation: A good teacher is patient and consistent*, arXiv 2106.05237);
            ``mirrored``: these and their mirror images.
            If teachers left out folds, each batch is of one fold and is taught by those that left
            it out (cross-fitting, Chernozhukov et al., arXiv 1608.00060).
        teaching: share of each target that the teachers decide; the label decides the rest.
        seed: of the split, the order, the augmentation, the initial weights and the dropout.
    """

    network: Literal["GiMeFive", "Residual"] = "GiMeFive"
    images: PositiveInt = 450_000
    batch: PositiveInt = 128
    optimizer: Literal["AdamW", "SGD"] = "AdamW"
    learning_rate: NonNegativeFloat = 2e-3
    weight_decay: NonNegativeFloat = 0.05
    warm_up: Fraction = 0.15
    balance: float = 0.5
    label_smoothing: Fraction = 0.1
    bootstrapping: Fraction = 0.0
    mixup: NonNegativeFloat = 0.0
    sharpness: NonNegativeFloat = 0.0
    consistency: NonNegativeFloat = 0.0
    dropout: NonNegativeFloat = 1.0
    linear_dropout: NonNegativeFloat | None = None
    precision: Literal["fp32", "bf16"] = "fp32"
    ema: Fraction = 0.998
    until: Fraction = 1.0
    stages: tuple[Stage, ...] = (Stage(0.55, 32), Stage(0.27, 48), Stage(0.18, 64))
    augmentation: Augmentation = field(default_factory=Augmentation)
    turns: tuple[PositiveInt, ...] = ()
    after: NonNegativeInt = 0
    photographed: Fraction = 0.0
    folds: PositiveInt = 1
    left_out: NonNegativeInt | None = None
    start: str = ""
    teachers: tuple[str, ...] = ()
    teachers_see: Literal["faces", "inputs", "mirrored"] = "faces"
    teaching: Fraction = 0.5
    seed: NonNegativeInt = 2402

    def __post_init__(self) -> None:
        if abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError("the shares of the stages must add up to 1")
        if self.images < self.batch:
            raise ValueError("there are fewer images than one batch has")
        if not self.last:
            raise ValueError("until is too small for a single step")
        if self.left_out is not None and not self.left_out < self.folds > 1:
            raise ValueError("left_out must be one of 0 to folds - 1, and folds at least 2")

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole schedule."""
        return self.images // self.batch

    @property
    def last(self) -> int:
        """Optimiser steps until the run ends."""
        return round(self.steps * self.until)

    def pixels(self, step: int) -> int:
        """The side of the input at `step`."""
        done = step / self.steps
        for stage in self.stages:
            done -= stage.share
            if done < 0:
                return stage.pixels
        return self.stages[-1].pixels

    def rate(self, step: int) -> float:
        """The learning rate at `step`: linear warm-up to the peak, then cosine decay to zero."""
        done = step / self.steps
        if done < self.warm_up:
            return self.learning_rate * (done + 1 / self.steps) / self.warm_up
        fall = (done - self.warm_up) / (1 - self.warm_up)
        return self.learning_rate * (1 + cos(pi * fall)) / 2

    def arithmetic(self, device: torch.device) -> torch.autocast:
        """The autocast context for this recipe's `precision`."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def to_json(self) -> str:
        """The recipe as JSON, for checkpoints and cards."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Read a recipe from a JSON file; missing fields keep their defaults.

        Raises:
            RunError: it is not JSON, or a field is unknown or invalid.
        """
        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path}: {_first(error)}") from error

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Recipe":
        """A recipe from parsed JSON; missing fields keep their defaults.

        Raises:
            RunError: a field is unknown or invalid.
        """
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            raise RunError(_first(error)) from error


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    return f"{name}: {fault['msg']}" if name else fault["msg"]
