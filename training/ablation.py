"""What each choice of a recipe is worth: the same short run again, with one thing changed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from training import metrics, origin
from training.artefact import score, score_mirrored_too
from training.augment import resize
from training.calibrate import fit_offsets, fit_temperature
from training.data import FaceSet, Split
from training.feed import Data
from training.recipe import Recipe
from training.report import Scored
from training.run import Execution
from training.train import train

BEFORE, BASE, MIRRORED = "before it", "the recipe as it is", "mirror images asked too"
"""The rows of every table: the weights that all runs start from, the run that others are compared
with, and the mean of its answers to each face and to its mirror image."""

Changes = dict[str, Any]
"""A recipe as parsed JSON; what it leaves out is not changed."""


@dataclass(frozen=True)
class Plan:
    """What is tried.

    Attributes:
        base: a recipe's changes to the defaults, which every run shares.
        rows: by name, the changes of one run to that.
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
    """How much more than the base has, on the mean of the held-out sets; 95 % interval +- `reach`.

    The same faces are asked of both, so the interval is that of the differences face by face.
    """

    value: float
    reach: float

    @classmethod
    def of(cls, some: Sequence[metrics.Values], base: Sequence[metrics.Values]) -> Self:
        """From what each face of each set counts with either network."""
        differences = [x - y for x, y in zip(some, base, strict=True)]
        variance = sum(float(d.var()) / len(d) for d in differences) / len(differences) ** 2
        return cls(float(np.mean([d.mean() for d in differences])), 1.959964 * sqrt(variance))


@dataclass(frozen=True)
class Row:
    """What one run is worth, offsets and temperature fitted on its validation faces.

    Attributes:
        name: what was changed.
        accuracy: by data set, held out or unseen.
        macro_recall: mean over the held-out sets.
        nll: likewise, in nats.
        accuracy_gain: over the base.
        nll_gain: likewise; less is better.
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
    """What a network says, its logits moved and scaled as an export would, by data set."""

    held_out: dict[str, Scored]
    unseen: dict[str, Scored]

    @classmethod
    def of(cls, ask: Callable[[FaceSet], Scored], faces: "Faces") -> Self:
        """Ask about every face; what the validation faces say calibrates the rest."""
        validation = [ask(part.validation) for part in faces.splits]
        offsets = np.array(fit_offsets(validation))
        moved = [Scored(s.logits + offsets, s.labels) for s in validation]
        temperature = fit_temperature(moved)

        def calibrated(part: FaceSet) -> Scored:
            said = ask(part)
            return Scored((said.logits + offsets) / temperature, said.labels)

        return cls(
            {part.held_out.name: calibrated(part.held_out) for part in faces.splits},
            {part.name: calibrated(part) for part in faces.unseen},
        )

    @property
    def right(self) -> list[metrics.Values]:
        """Per held-out set float64 ``[N]``: 1 where a face's answer is its label."""
        return [(s.logits.argmax(axis=1) == s.labels) * 1.0 for s in self.held_out.values()]

    @property
    def losses(self) -> list[metrics.Values]:
        """Per held-out set float64 ``[N]``: each face's negative log-likelihood."""
        return [metrics.losses(metrics.softmax(s.logits), s.labels) for s in self.held_out.values()]


@dataclass(frozen=True)
class Faces:
    """What is learned from, and what is measured on.

    Attributes:
        splits: the data sets, cut by the seed of the base.
        unseen: data sets of which nothing is learned.
    """

    splits: tuple[Split, ...]
    unseen: tuple[FaceSet, ...]


class Sized(nn.Module):
    """A network that is asked at another size than that of the faces, in evaluation mode."""

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
    """Train every row and measure it, at the size that it was last trained at.

    Runs that are there already go on, or stay as they are.

    Args:
        plan: what is tried.
        faces: all data sets.
        out: a folder for every run, and ``results.json``.
        execution: what the runs are carried out with.
        say: told each row as it is known.
    """
    recipes = plan.recipes()

    def trained(name: str) -> nn.Module:
        recipe = recipes[name]
        data = Data.of(
            [s.train for s in faces.splits], [s.validation for s in faces.splits], recipe.turns
        )
        run = train(recipe, data, out / name, execution).parent
        return Sized(origin.network(str(run)), recipe.stages[-1].pixels)

    def answers(network: nn.Module) -> Answers:
        return Answers.of(lambda part: score(network, part), faces)

    rows: list[Row] = []

    def tell(name: str, some: Answers) -> None:
        rows.append(Row.of(name, some, base))
        say(table(rows[-1:]).splitlines()[-1])

    network = trained(BASE)
    base = answers(network)
    start = origin.begun(recipes[BASE])
    tell(BEFORE, answers(Sized(start, recipes[BASE].stages[-1].pixels)))
    tell(BASE, base)
    tell(MIRRORED, Answers.of(lambda part: score_mirrored_too(network, part), faces))
    for name in plan.rows:
        tell(name, answers(trained(name)))
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
    sets = list(rows[0].accuracy)
    cells = [
        ["", *sets, "macro recall", "accuracy gained", "NLL", "NLL gained"],
        ["---", *["---:"] * (len(sets) + 4)],
        *(_cells(row) for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _cells(row: Row) -> list[str]:
    accuracy, nll = row.accuracy_gain, row.nll_gain
    return [
        row.name,
        *(f"{100 * value:.1f}" for value in row.accuracy.values()),
        f"{100 * row.macro_recall:.1f}",
        f"{100 * accuracy.value:+.1f} ± {100 * accuracy.reach:.1f}" if accuracy.reach else "",
        f"{row.nll:.3f}",
        f"{nll.value:+.3f} ± {nll.reach:.3f}" if nll.reach else "",
    ]


def _macro_recall(scored: Scored) -> float:
    return metrics.macro_recall(metrics.confusion(scored.logits, scored.labels))
