"""The ``gimefive`` command."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import service
from service import report
from service.drawing import Style
from service.engine import Engine
from service.errors import ServiceError
from service.explanation import Colormap, Emotion, Layer, Method, Question, View
from service.intake import FaceMode
from service.records import EMOTIONS
from service.serve import serve as run_server
from service.settings import Settings
from service.store import ModelStore

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
AT_ONCE = 64
PROGRESS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Facial-emotion classification with GiMeFive.",
)


class Output(Enum):
    """How answers are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")]
PrecisionOption = Annotated[str | None, typer.Option(help="auto, fp32, int8 or fp16")]


def _version(wanted: bool) -> None:  # typer calls it with the flag
    if wanted:
        typer.echo(f"gimefive {service.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # the callback above handles it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Facial-emotion classification with GiMeFive. Settings: GIMEFIVE_*, see the README."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Serve HTTP until Ctrl-C or SIGTERM."""
    try:
        run_server(_settings(host=host, port=port, device=device, precision=precision))
    except ServiceError as error:
        _stop(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def verify() -> None:
    """Check every file of the model store against its card."""
    try:
        for path in ModelStore(_settings().model_store).verify():
            typer.echo(f"sound: {path}")
    except ServiceError as error:
        _stop(error)


@app.command()
def classify(
    paths: Annotated[list[Path], typer.Argument(help="images, and folders of images")],
    faces: Annotated[FaceMode, typer.Option(help="whole: each image is one face")] = "detect",
    as_json: Annotated[bool, typer.Option("--json", help="a JSON object a line")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="filepath and six scores, a face a line")
    ] = False,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Classify images; a table on a terminal. The exit status is 1 if one could not be read."""
    files = _images(paths)
    settings = _settings(device=device, precision=precision)
    output = Output.CSV if as_csv else Output.JSON if as_json else Output.TABLE
    try:
        failed = asyncio.run(_classify(settings, files, faces, output))
    except ServiceError as error:
        _stop(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    raise typer.Exit(1 if failed else 0)


@app.command()
def explain(
    image: Annotated[Path, typer.Argument(help="an image")],
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG file to write")],
    target: Annotated[Emotion | None, typer.Option(help="the predicted one if left out")] = None,
    face: Annotated[int, typer.Option(help="0 is the largest")] = 0,
    method: Annotated[Method, typer.Option(help="gradcam is the paper's")] = "gradcam",
    layer: Annotated[Layer, typer.Option(help="the convolution to explain")] = "conv5",
    view: Annotated[View, typer.Option(help="what is drawn")] = "overlay",
    alpha: Annotated[float, typer.Option(help="share of heat, 0 to 1")] = 0.4,
    colormap: Annotated[Colormap, typer.Option(help="colours of the heat")] = "jet",
    faces: Annotated[FaceMode, typer.Option(help="whole: the image is one face")] = "detect",
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Draw why a face got its score."""
    settings = _settings(device=device, precision=precision, workers=1)

    async def draw() -> bytes:
        question = Question(method, layer, None if target is None else EMOTIONS.index(target))
        style = Style(alpha, colormap)
        async with Engine.open(settings) as engine:
            explained = await engine.explain(image.read_bytes(), question, faces=faces, face=face)
            return await engine.draw(explained, view, style)

    try:
        output.write_bytes(asyncio.run(draw()))
    except (ServiceError, OSError) as error:
        _stop(error)


async def _classify(settings: Settings, files: list[Path], faces: FaceMode, output: Output) -> int:
    """Classify all files, several at once, and write the answers in order; how many failed."""
    errors = Console(stderr=True)
    failed = 0
    async with Engine.open(settings) as engine:
        writer = _writer(output, engine)
        with Progress(*PROGRESS, console=errors, transient=True) as progress:
            bar = progress.add_task("classifying", total=len(files))
            async for row in _rows(engine, files, faces):
                if row.problem is not None:
                    failed += 1
                    errors.print(f"{row.path}: {row.problem}", style="red", markup=False)
                writer.write(row)
                progress.advance(bar)
    writer.close()
    return failed


async def _rows(engine: Engine, files: list[Path], faces: FaceMode) -> AsyncIterator[report.Row]:
    """The answers in the files' order, while the next ones are being worked on."""

    async def one(path: Path) -> report.Row:
        try:
            data = await asyncio.to_thread(path.read_bytes)
            return report.Row(path, await engine.classify(data, faces))
        except (ServiceError, OSError) as error:
            return report.Row(path, problem=str(error))

    under_way: deque[asyncio.Task[report.Row]] = deque()
    for path in files:
        under_way.append(asyncio.create_task(one(path)))
        if len(under_way) == AT_ONCE:
            yield await under_way.popleft()
    while under_way:
        yield await under_way.popleft()


def _writer(output: Output, engine: Engine) -> report.Writer:
    match output:
        case Output.CSV:
            return report.CsvWriter()
        case Output.JSON:
            return report.JsonLinesWriter(engine.info, engine.threshold)
        case Output.TABLE:
            return report.TableWriter(engine.threshold)


def _images(paths: list[Path]) -> list[Path]:
    """The files themselves, and the images anywhere below the folders, in order."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = (file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
            files.extend(sorted(found))
        else:
            files.append(path)
    if not files:
        raise typer.BadParameter("there is no image in there", param_hint="PATHS")
    return files


def _settings(**changes: object) -> Settings:
    try:
        return Settings().but(**changes)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(["setting", *(str(part) for part in fault["loc"])]).replace(".", " ", 1)
        typer.echo(f"gimefive: {name}: {fault['msg']}", err=True)
        raise typer.Exit(2) from None


def _stop(error: Exception) -> NoReturn:
    typer.echo(f"gimefive: {error}", err=True)
    raise typer.Exit(1) from error


if __name__ == "__main__":
    app()
