"""What a training run is: every choice in one frozen value, so that a run can be redone."""

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
    """A stretch of training at one resolution.

    Attributes:
        share: the part of all image passes spent here; the shares of a recipe sum to 1.
        pixels: side of the square input.
    """

    share: Fraction
    pixels: PositiveInt


@dataclass(frozen=True, config=EXACTLY)
class Recipe:
    """All choices of a training run.

    Attributes:
        images: image passes in all.
        batch: images a step, over all processes together.
        optimizer: ``AdamW``, or ``SGD`` with a Nesterov momentum of 0.9.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: on weights of convolutions and linear layers; not on biases and norms.
        warm_up: part of the steps that the learning rate rises for, before its cosine fall.
        balance: how much more rare emotions weigh in the loss: the power of one over their
            frequency.
        label_smoothing: mass spread evenly over the classes.
        bootstrapping: part of each target that the network's own answer decides.
        mixup: strength of the mixing of two faces and their targets (both parameters of the beta
            distribution); none at 0.
        sharpness: how far the weights are moved towards a higher loss before each gradient is taken
            (Foret et al., arXiv 2010.01412); above 0 each face passes twice.
        consistency: weight of the difference between the answers to a face and to its mirror image;
            above 0 each face passes twice.
        dropout: how much of the published dropout (0.2 after a block, 0.5 between linear layers)
            there is.
        linear_dropout: how much there is between linear layers, if not as much as `dropout`.
        precision: of the multiplications: ``fp32``, or ``bf16``, which is faster where a
            processor or a GPU multiplies in it. Weights stay in fp32.
        ema: decay of the exponential moving average of the weights that is kept, a step.
        until: part of the steps after which the run ends; another may go on from it while the
            rate is still high.
        stages: progressive resolution, small to large.
        augmentation: what is done to the images of each batch.
        turns: how often each data set is drawn in a round, in the order they are given; once each
            if empty.
        after: faces that runs before it drew; the order goes on where they ended.
        photographed: part of the faces that come as the service cuts them out of a photograph.
        folds: how many parts the training faces are cut in, by the names of their files.
        left_out: the fold that is not learned from, 0 to `folds` - 1, so that the network can teach
            others about its faces, whose labels it does not know; none if empty.
        start: folder of a finished run, or of a version of the store, whose weights this one starts
            from; none if empty.
        teachers: folders like that of `start`; the mean answer of their networks is part of what
            the network should answer.
        teachers_see: what they answer: ``faces``, each and its mirror image once, before the first
            step; or ``inputs``, at every step what the network sees, moved, changed and mixed
            (Beyer et al., *Knowledge distillation: A good teacher is patient and consistent*,
            arXiv 2106.05237); or ``mirrored``, that and its mirror image.
            Where teachers left out a fold, each batch is of one fold, and those teach that did not
            learn it (cross-fitting, Chernozhukov et al., arXiv 1608.00060).
        teaching: how much the teachers decide; the label decides the rest.
        seed: of the split, the order, the augmentation, the initial weights and the dropout.
    """

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
        """Optimiser steps that are done."""
        return round(self.steps * self.until)

    def pixels(self, step: int) -> int:
        """The input side at `step`."""
        done = step / self.steps
        for stage in self.stages:
            done -= stage.share
            if done < 0:
                return stage.pixels
        return self.stages[-1].pixels

    def rate(self, step: int) -> float:
        """The learning rate at `step`: a straight rise to the peak, then half a cosine to zero."""
        done = step / self.steps
        if done < self.warm_up:
            return self.learning_rate * (done + 1 / self.steps) / self.warm_up
        fall = (done - self.warm_up) / (1 - self.warm_up)
        return self.learning_rate * (1 + cos(pi * fall)) / 2

    def arithmetic(self, device: torch.device) -> torch.autocast:
        """What networks compute within, for multiplications of this recipe's `precision`."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def to_json(self) -> str:
        """The recipe as JSON, for checkpoints and cards."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def load(cls, path: Path) -> "Recipe":
        """Read a recipe that `to_json` wrote; what it leaves out keeps its default.

        Raises:
            RunError: it is no JSON, or names or gives something that no recipe has.
        """
        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except ValidationError as error:
            raise RunError(f"{path}: {_first(error)}") from error

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Recipe":
        """The recipe of parsed JSON; what that leaves out keeps its default.

        Raises:
            RunError: as `load` says.
        """
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as error:
            raise RunError(_first(error)) from error


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    return f"{name}: {fault['msg']}" if name else fault["msg"]
