"""``python -m training``: train, evaluate, calibrate, export."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from training.data import read, split
from training.recipe import Recipe
from training.train import Data
from training.train import train as run

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__)


@app.callback()
def main() -> None:
    """Build what model_store/ holds."""


@app.command()
def train(
    data: Annotated[list[Path], typer.Argument(help="data sets: folders, .zip or .csv files")],
    out: Annotated[Path, typer.Option(help="folder of the run; a run there goes on")],
    recipe: Annotated[
        Path | None, typer.Option(help="JSON with what differs from the defaults")
    ] = None,
    processes: Annotated[int, typer.Option(help="processes that share each batch")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cuda"
    if torch.cuda.is_available()
    else "cpu",
) -> None:
    """Train the network, or go on with a run that stopped."""
    chosen = Recipe.load(recipe) if recipe else Recipe()
    splits = [split(read(path), chosen.seed) for path in data]
    weights = run(
        chosen,
        Data.of([s.train for s in splits], [s.validation for s in splits]),
        out,
        processes,
        device,
    )
    typer.echo(f"averaged weights: {weights}")


if __name__ == "__main__":
    app()
