"""The commands of ``python -m training``."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from training import evaluate as evaluation
from training.ablation import Faces, Plan, table
from training.ablation import ablate as run_ablation
from training.artefact import score_with_mirror_images
from training.calibrate import fit_calibration
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
from training.recalibrate import recalibrate as write_recalibrated
from training.recipe import Recipe
from training.run import Execution
from training.train import train as run

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Build the contents of model_store/."
)

Sets = Annotated[list[Path], typer.Argument(help="data sets: folders, .zip or .csv files")]
File = Annotated[Path, typer.Argument(help="model.*.pt, next to its card.json")]

Unseen = Annotated[
    list[Path] | None, typer.Option(help="a data set to evaluate that was not trained on")
]
Version = Annotated[int, typer.Option(min=1, help="a new number; versions never change")]
Processes = Annotated[int, typer.Option(help="processes that share each batch")]
Device = Annotated[str, typer.Option(help="cpu or cuda; default: cuda if available")]


@app.command()
def train(
    data: Sets,
    out: Annotated[Path, typer.Option(help="folder of the run; an existing run is resumed")],
    recipe: Annotated[Path | None, typer.Option(help="JSON with changes to the defaults")] = None,
    processes: Processes = 1,
    device: Device = "",
) -> None:
    """Train the network, or resume a run that stopped."""
    chosen = Recipe.load(recipe) if recipe else Recipe()
    splits = [split(read(path), chosen.seed) for path in data]
    faces = Data.of_splits(splits, chosen.turns)
    weights = run(chosen, faces, out, _execution(processes, device))
    typer.echo(f"weights: {weights}")


@app.command()
def ablate(
    plan: Annotated[Path, typer.Argument(help="JSON: a base recipe and named changes to it")],
    data: Sets,
    out: Annotated[Path, typer.Option(help="folder for the runs; existing runs are resumed")],
    unseen: Unseen = None,
    processes: Processes = 1,
    device: Device = "",
) -> None:
    """Train one run per row of a plan and report what each change is worth."""
    loaded = Plan.load(plan)
    splits = tuple(split(read(path), Recipe.of(loaded.base).seed) for path in data)
    faces = Faces(splits, tuple(read(path) for path in unseen or ()))
    check_unseen(faces.unseen, faces.splits)
    execution = replace(_execution(processes, device), reports=1)
    typer.echo(table(run_ablation(loaded, faces, out, execution, typer.echo)))


@app.command()
def export(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="folder of a finished run, or of a version")
    ],
    data: Sets,
    version: Version,
    averaged_with: Annotated[
        list[Path] | None,
        typer.Option(help="a run or version to average in, as far as validation faces gain"),
    ] = None,
    evened: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=SHARE",
            help="a data set whose rare emotions are to be answered as if less rare, 0 to 1",
        ),
    ] = None,
    unseen: Unseen = None,
    store: Annotated[Path, typer.Option(help="the model store")] = Path("model_store"),
) -> None:
    """Export a run as a version of the store: files, card, README and figures."""
    order = Order(
        run=folder,
        averaged=tuple(averaged_with or ()),
        data=tuple(data),
        evened=dict(map(_share, evened or ())),
        unseen=tuple(unseen or ()),
        store=store,
        version=version,
    )
    write_version(order, typer.echo)


@app.command()
def recalibrate(
    folder: Annotated[Path, typer.Argument(help="folder of a version, with card.json")],
    data: Sets,
    version: Version,
    unseen: Unseen = None,
) -> None:
    """Write a version with the files of another, calibrated and measured anew."""
    write_recalibrated(folder, data, unseen or [], version, typer.echo)


@app.command()
def evaluate(
    file: File,
    data: Sets,
    part: Annotated[Part, typer.Option(help="which faces, split as the run split them")] = Part.all,
    harder: Annotated[bool, typer.Option(help="also under each condition of the card")] = False,
    mirrored: Annotated[bool, typer.Option(help="also averaged with mirror images")] = False,
    out: Annotated[Path | None, typer.Option(help="folder for JSON and figures")] = None,
) -> None:
    """Evaluate a file of the store, one line per data set."""
    artefact = Artefact.open(file)
    for path in data:
        faces = artefact.choose(read(path), part)
        report = artefact.measure(faces)
        typer.echo(evaluation.line(faces.name, report))
        for condition in CONDITIONS if harder else ():
            right = artefact.score(under(condition, faces)).accuracy
            typer.echo(f"{faces.name}, {condition}: {right:.1%}")
        if mirrored:
            right = score_with_mirror_images(artefact.module, faces).accuracy
            typer.echo(f"{faces.name}, averaged with mirror images: {right:.1%}")
        if out:
            evaluation.write(faces.name, report, out)


@app.command()
def calibrate(file: File, data: Sets) -> None:
    """Fit a file's calibration on the held-out part of data sets, as an export does.

    Prints the cross-fitted results: each face calibrated by other faces.
    """
    artefact = Artefact.open(file)
    sets = [artefact.choose(read(path), Part.held_out) for path in data]
    held_out = {faces.name: artefact.score(faces) for faces in sets}
    typer.echo(f"in the card: {artefact.calibration}")
    typer.echo(f"fitted here: {fit_calibration(list(held_out.values()))}")
    for name, report in cross_fitted(held_out).items():
        typer.echo(evaluation.line(name, report))


@app.command()
def describe(
    folder: Annotated[Path, typer.Argument(help="folder of a version, with card.json")],
) -> None:
    """Rewrite a version's README and figures from its card."""
    write_description(folder)


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="folders of versions, with card.json")],
) -> None:
    """Print the figures of several versions side by side."""
    typer.echo(side_by_side(folders))


def _share(option: str) -> tuple[str, float]:
    """The name and the share of ``NAME=SHARE``."""
    name, _, share = option.rpartition("=")
    try:
        if name and 0 <= float(share) <= 1:
            return name, float(share)
    except ValueError:
        pass
    raise typer.BadParameter(f"{option} is not like raf-db-train=0.5, with a share from 0 to 1")


def _execution(processes: int, device: str) -> Execution:
    """With about a minute between checkpoints."""
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Execution(processes, chosen, checkpoint_steps=5000 if chosen == "cuda" else 100)


if __name__ == "__main__":
    try:
        app()
    except TrainingError as error:
        sys.exit(f"error: {error}")
