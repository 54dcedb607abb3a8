"""Ablation: what each choice of a recipe is worth, by short runs with one thing changed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from service.calibration import softmax
from training import markdown, metrics, origin
from training.artefact import score, score_with_mirror_images
from training.augment import resize
from training.calibrate import fit_calibration, fit_offsets
from training.data import FaceSet, Split
from training.feed import Data
from training.recipe import Recipe
from training.report import Scored
from training.run import Execution
from training.train import train

BEFORE, BASE, MIRRORED = "before it", "the recipe as it is", "mirror images asked too"
"""The rows of every table: the initial weights of all runs, the run that the others are compared
with, and the mean of that run's logits for each face and its mirror image."""

Changes = dict[str, Any]
"""Part of a recipe as parsed JSON; what it leaves out keeps its value."""


@dataclass(frozen=True)
class Plan:
    """The runs of an ablation.

    Attributes:
        base: changes to the default recipe that every run shares.
        rows: by name, the changes of one run to the base.
    """

    base: Changes
    rows: dict[str, Changes]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read ``{"base": {...}, "rows": {"name": {...}}}``."""
        return cls(**json.loads(path.read_text()))

    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each row, `BASE` first."""
        moved = self.base.get("augmentation", {})
        return {
            name: Recipe.of(self.base | row | {"augmentation": moved | row.get("augmentation", {})})
            for name, row in {BASE: Changes(), **self.rows}.items()
        }


@dataclass(frozen=True)
class Gain:
    """The difference to the base, averaged over the held-out sets; 95% interval +- `reach`.

    Both networks answer the same faces, so the interval is that of the paired differences.
    """

    value: float
    reach: float

    @classmethod
    def of(cls, some: Sequence[metrics.Values], base: Sequence[metrics.Values]) -> Self:
        """The gain of `some` over `base`, given each face's value per set."""
        differences = [x - y for x, y in zip(some, base, strict=True)]
        variance = sum(float(d.var()) / len(d) for d in differences) / len(differences) ** 2
        return cls(float(np.mean([d.mean() for d in differences])), 1.959964 * sqrt(variance))


@dataclass(frozen=True)
class Row:
    """The results of one run, with offsets and calibration fitted on its validation faces.

    Attributes:
        name: what was changed.
        accuracy: by data set, held out or unseen.
        macro_recall: mean over the held-out sets.
        nll: mean over the held-out sets, in nats.
        accuracy_gain: over the base.
        nll_gain: over the base; lower is better.
    """

    name: str
    accuracy: dict[str, float]
    macro_recall: float
    nll: float
    accuracy_gain: Gain
    nll_gain: Gain

    @classmethod
    def of(cls, name: str, some: "Answers", base: "Answers") -> Self:
        """Compare a run's answers with those of the base."""
        return cls(
            name,
            {part: scored.accuracy for part, scored in (some.held_out | some.unseen).items()},
            float(np.mean([_macro_recall(scored) for scored in some.held_out.values()])),
            float(np.mean([losses.mean() for losses in some.losses])),
            Gain.of(some.right, base.right),
            Gain.of(some.losses, base.losses),
        )


@dataclass(frozen=True)
class Answers:
    """A network's logits by data set, with offsets and calibration applied as by an export."""

    held_out: dict[str, Scored]
    unseen: dict[str, Scored]

    @classmethod
    def of(cls, score: Callable[[FaceSet], Scored], faces: "Faces") -> Self:
        """Score every face, calibrated on the validation faces."""
        validation = [score(part.validation) for part in faces.splits]
        offsets = fit_offsets(validation)
        calibration = fit_calibration([scored.shifted(offsets) for scored in validation])

        def calibrated(part: FaceSet) -> Scored:
            shifted = score(part).shifted(offsets)
            return replace(shifted, logits=calibration.scale(shifted.logits))

        return cls(
            {part.held_out.name: calibrated(part.held_out) for part in faces.splits},
            {part.name: calibrated(part) for part in faces.unseen},
        )

    @property
    def right(self) -> list[metrics.Values]:
        """Per held-out set, float64 ``[N]``: 1 where the prediction is the label, else 0."""
        return [(s.logits.argmax(axis=1) == s.labels) * 1.0 for s in self.held_out.values()]

    @property
    def losses(self) -> list[metrics.Values]:
        """Per held-out set, float64 ``[N]``: each face's negative log-likelihood."""
        return [metrics.losses(softmax(s.logits), s.labels) for s in self.held_out.values()]


@dataclass(frozen=True)
class Faces:
    """The data of an ablation.

    Attributes:
        splits: the data sets to train on, split by the seed of the base.
        unseen: data sets for evaluation only.
    """

    splits: tuple[Split, ...]
    unseen: tuple[FaceSet, ...]


class AtResolution(nn.Module):
    """A network in evaluation mode that resizes its faces first."""

    def __init__(self, network: nn.Module, pixels: int) -> None:
        super().__init__()
        self.network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        self.pixels = pixels

    def forward(self, faces: Tensor) -> Tensor:
        """Logits ``[N, 6]`` of faces ``[N, H, W]``."""
        logits: Tensor = self.network(resize(faces, self.pixels))
        return logits


def ablate(
    plan: Plan, faces: Faces, out: Path, execution: Execution, say: Callable[[str], None]
) -> list[Row]:
    """Train every row and evaluate it, at the resolution it was last trained at.

    Existing runs are resumed, or used as they are if they are finished.

    Args:
        plan: the runs.
        faces: all data sets.
        out: folder for a folder per run and ``results.json``.
        execution: processes, device and the like.
        say: is called with each row as soon as it is known.
    """
    recipes = plan.recipes()

    def trained(name: str) -> nn.Module:
        recipe = recipes[name]
        data = Data.of_splits(faces.splits, recipe.turns)
        run = train(recipe, data, out / name, execution).parent
        return AtResolution(origin.network(str(run)), recipe.stages[-1].pixels)

    def answers(network: nn.Module) -> Answers:
        return Answers.of(lambda part: score(network, part), faces)

    rows: list[Row] = []

    def add_row(name: str, some: Answers) -> None:
        rows.append(Row.of(name, some, base))
        say(table(rows[-1:]).splitlines()[-1])

    network = trained(BASE)
    base = answers(network)
    start = origin.initial_network(recipes[BASE])
    add_row(BEFORE, answers(AtResolution(start, recipes[BASE].stages[-1].pixels)))
    add_row(BASE, base)
    add_row(MIRRORED, Answers.of(lambda part: score_with_mirror_images(network, part), faces))
    for name in plan.rows:
        add_row(name, answers(trained(name)))
    (out / "results.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return rows


def load(path: Path) -> list[Row]:
    """Read ``results.json``."""
    return [
        Row(**row | {name: Gain(**row[name]) for name in ("accuracy_gain", "nll_gain")})
        for row in json.loads(path.read_text())
    ]


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    header = ["", *rows[0].accuracy, "macro recall", "accuracy gained", "NLL", "NLL gained"]
    return markdown.table(header, [_cells(row) for row in rows])


def _cells(row: Row) -> list[str]:
    accuracy, nll = row.accuracy_gain, row.nll_gain
    return [
        row.name,
        *map(markdown.percent, row.accuracy.values()),
        markdown.percent(row.macro_recall),
        f"{100 * accuracy.value:+.1f} ± {100 * accuracy.reach:.1f}" if accuracy.reach else "",
        f"{row.nll:.3f}",
        f"{nll.value:+.3f} ± {nll.reach:.3f}" if nll.reach else "",
    ]


def _macro_recall(scored: Scored) -> float:
    return metrics.macro_recall(metrics.confusion(scored.logits, scored.labels))
