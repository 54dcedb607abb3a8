"""``python -m training``: train, ablate, export, evaluate, calibrate, describe, compare."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from training import evaluate as evaluation
from training.ablation import Faces, Plan, table
from training.ablation import ablate as run_ablation
from training.artefact import score_mirrored_too
from training.calibrate import fit_temperature
from training.compare import compare as side_by_side
from training.conditions import CONDITIONS, under
from training.data import check_unseen, read, split
from training.describe import describe as write_description
from training.errors import TrainingError
from training.evaluate import Artefact, Part
from training.evidence import cross_fitted
from training.export import export as write_version
from training.feed import Data
from training.material import Order
from training.recipe import Recipe
from training.run import Execution
from training.train import train as run

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Build what model_store/ holds.")

Sets = Annotated[list[Path], typer.Argument(help="data sets: folders, .zip or .csv files")]
File = Annotated[Path, typer.Argument(help="model.*.pt with card.json beside it")]

Unseen = Annotated[
    list[Path] | None, typer.Option(help="a data set that was not trained on, to be measured")
]
Processes = Annotated[int, typer.Option(help="processes that share each batch")]
Device = Annotated[str, typer.Option(help="cpu or cuda; chosen if left out")]


@app.command()
def train(
    data: Sets,
    out: Annotated[Path, typer.Option(help="folder of the run; a run there goes on")],
    recipe: Annotated[Path | None, typer.Option(help="JSON with changes to the defaults")] = None,
    processes: Processes = 1,
    device: Device = "",
) -> None:
    """Train the network, or go on with a run that stopped."""
    chosen = Recipe.load(recipe) if recipe else Recipe()
    splits = [split(read(path), chosen.seed) for path in data]
    faces = Data.of([s.train for s in splits], [s.validation for s in splits], chosen.turns)
    weights = run(chosen, faces, out, _execution(processes, device))
    typer.echo(f"weights: {weights}")


@app.command()
def ablate(
    plan: Annotated[Path, typer.Argument(help="JSON: a base, and by name what differs from it")],
    data: Sets,
    out: Annotated[Path, typer.Option(help="folder for the runs; runs there go on")],
    unseen: Unseen = None,
    processes: Processes = 1,
    device: Device = "",
) -> None:
    """Train one run for each line of a plan, and say what each change is worth."""
    tried = Plan.load(plan)
    splits = tuple(split(read(path), Recipe.of(tried.base).seed) for path in data)
    faces = Faces(splits, tuple(read(path) for path in unseen or ()))
    check_unseen(faces.unseen, faces.splits)
    execution = replace(_execution(processes, device), reports=1)
    typer.echo(table(run_ablation(tried, faces, out, execution, typer.echo)))


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="folder of a finished run, or of a version")
    ],
    data: Sets,
    version: Annotated[int, typer.Option(min=1, help="versions never change: a new number")],
    averaged_with: Annotated[
        list[Path] | None,
        typer.Option(help="a run or a version whose weights go in as far as validation faces gain"),
    ] = None,
    unseen: Unseen = None,
    store: Annotated[Path, typer.Option(help="the model store")] = Path("model_store"),
) -> None:
    """Turn a run into a version of the store: files, card, README, pictures."""
    averaged, unknown = tuple(averaged_with or ()), tuple(unseen or ())
    write_version(Order(folder, averaged, tuple(data), unknown, store, version), typer.echo)


@app.command()
def evaluate(
    file: File,
    data: Sets,
    part: Annotated[Part, typer.Option(help="which faces, cut as the run cut them")] = Part.all,
    harder: Annotated[bool, typer.Option(help="also under the conditions of the card")] = False,
    mirrored: Annotated[bool, typer.Option(help="also together with mirror images")] = False,
    out: Annotated[Path | None, typer.Option(help="folder for JSON and pictures")] = None,
) -> None:
    """Measure a file of the store on data sets, one line each."""
    artefact = Artefact.open(file)
    for path in data:
        faces = artefact.choose(read(path), part)
        report = artefact.measure(faces)
        typer.echo(evaluation.line(faces.name, report))
        for condition in CONDITIONS if harder else ():
            right = artefact.score(under(condition, faces)).accuracy
            typer.echo(f"{faces.name}, {condition}: {right:.1%}")
        if mirrored:
            right = score_mirrored_too(artefact.module, faces).accuracy
            typer.echo(f"{faces.name}, together with mirror images: {right:.1%}")
        if out:
            evaluation.write(faces.name, report, out)


@app.command()
def calibrate(file: File, data: Sets) -> None:
    """Fit a file's temperature on the held-out part of data sets, as export does.

    Printed is what that is worth, each face at a temperature that others decided.
    """
    artefact = Artefact.open(file)
    sets = [artefact.choose(read(path), Part.held_out) for path in data]
    held_out = {faces.name: artefact.score(faces) for faces in sets}
    temperature = fit_temperature(list(held_out.values()))
    typer.echo(f"the card's temperature is {artefact.entry['temperature']}, here {temperature}")
    for name, report in cross_fitted(held_out).items():
        typer.echo(evaluation.line(name, report))


@app.command()
def describe(
    folder: Annotated[Path, typer.Argument(help="a version's folder, with card.json")],
) -> None:
    """Write a version's README and pictures again, from its card."""
    write_description(folder)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="folders of versions, with card.json")],
) -> None:
    """Print all that the cards of versions say, side by side."""
    typer.echo(side_by_side(folders))


def _execution(processes: int, device: str) -> Execution:
    """Checkpoints come a minute or so apart."""
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Execution(processes, chosen, checkpoint_steps=5000 if chosen == "cuda" else 100)


if __name__ == "__main__":
    try:
        app()
    except TrainingError as error:
        sys.exit(f"error: {error}")
