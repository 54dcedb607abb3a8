"""The recipes of a version's runs in Markdown."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from training.markdown import table
from training.recipe import Recipe


def described(recipes: Sequence[dict[str, Any]]) -> str:
    """A table of the first run's choices, and what each later one changed."""
    runs = [_choices(values) for values in recipes]
    first = table(["choice", "run 1"], [list(choice) for choice in runs[0].items()], words=2)
    changes = [
        f"- Run {number}: "
        + "; ".join(f"*{name}* {after[name]}" for name in after if after[name] != before[name])
        for number, (before, after) in enumerate(pairwise(runs), 2)
    ]
    if not changes:
        return first
    return "\n".join([first, "", "Each later run changed:", "", *changes])


def _choices(values: dict[str, Any]) -> dict[str, str]:
    recipe = Recipe.of(values)
    stages = ", ".join(f"{stage.share:.0%} at {stage.pixels} px" for stage in recipe.stages)
    moved = asdict(recipe.augmentation) | ({"mixup": recipe.mixup} if recipe.mixup else {})
    teachers = ", ".join(f"`{teacher}`" for teacher in recipe.teachers)
    asked = {
        "faces": "",
        "inputs": ", on the augmented inputs",
        "mirrored": ", on the augmented inputs and their mirror images",
    }
    ratio = " : ".join(map(str, recipe.turns)) or "equal"
    crops = f"; {recipe.photographed:.0%} cropped from photographs" if recipe.photographed else ""
    without = "" if recipe.left_out is None else f"; without fold {recipe.left_out}"
    own = ", each on the fold it left out" if recipe.folds > 1 and not without else ""
    after = f", after {recipe.after:,} earlier draws" if recipe.after else ""
    ended = f"; stopped after {recipe.until:.0%}" if recipe.until < 1 else ""
    half = ", bfloat16" if recipe.precision == "bf16" else ""
    return {
        "initial weights": f"`{recipe.start}`" if recipe.start else "random",
        "image passes": f"{recipe.images:,}: {stages}",
        "sampling of data sets": ratio + after + crops + without,
        "teachers": f"{teachers}: {recipe.teaching:.0%}{asked[recipe.teachers_see]}{own}"
        if teachers
        else "none",
        "optimiser": f"{recipe.optimizer}, peak learning rate {recipe.learning_rate:g}, "
        f"batch size {recipe.batch}{half}",
        "weight decay": f"{recipe.weight_decay:g}, not on biases and norms",
        "schedule": f"one cycle: {recipe.warm_up:.0%} warm-up, then cosine decay{ended}",
        "class weights": f"1 / frequency^{recipe.balance:g}" if recipe.balance else "equal",
        "dropout": _dropout(recipe),
        "label smoothing": f"{recipe.label_smoothing:g}",
        "final weights": f"moving average (decay {recipe.ema:g} per step) or last step",
        "augmentation": ", ".join(f"{name} {value:g}" for name, value in moved.items()),
        "seed": str(recipe.seed),
    }


def _dropout(recipe: Recipe) -> str:
    blocks, linear = recipe.dropout, recipe.linear_dropout
    if linear is not None:
        return f"{blocks:.0%} of published after blocks, {linear:.0%} between linear layers"
    return "as published" if blocks == 1 else f"{blocks:.0%} of published"
