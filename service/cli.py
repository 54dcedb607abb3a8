"""The ``gimefive`` command.

Each command imports what it needs itself: a server starts sooner without what asks one.
"""

import asyncio
import sys
from contextlib import AbstractAsyncContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

import service
from service import logs
from service.atomic import atomic_write
from service.commands.ending import check_folders, check_outputs, ending, settings_with, stop
from service.commands.resumable_csv import ResumableCsv
from service.csv_text import csv_text
from service.errors import BadInput, ServiceError
from service.explanation import Colormap, Layer, Method, View
from service.records import Emotion, FaceMode
from service.settings import Settings
from service.store import ModelStore

if TYPE_CHECKING:
    from service.commands.backends import Backend

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Facial-emotion classification with GiMeFive.",
)


Url = Annotated[
    str | None, typer.Option(help="ask the service there instead of starting a model here")
]
KeyFile = Annotated[
    Path | None, typer.Option(help="file that holds the API key, if that service wants one")
]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N")]
PrecisionOption = Annotated[str | None, typer.Option(help="auto, fp32, int8 or fp16")]
Target = Annotated[Emotion | None, typer.Option(help="the predicted one if left out")]
MethodOption = Annotated[Method, typer.Option(help="gradcam is the paper's")]
LayerOption = Annotated[Layer, typer.Option(help="the convolution to explain")]
Alpha = Annotated[float, typer.Option(help="share of heat, 0 to 1")]
ColormapOption = Annotated[Colormap, typer.Option(help="colours of the heat")]


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
    """Facial-emotion classification with GiMeFive. Settings: GIMEFIVE_*, see docs/operations.md."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on")] = None,
    fronts: Annotated[
        int | None, typer.Option(help="front processes; more than one to feed a GPU")
    ] = None,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Serve HTTP until Ctrl-C or SIGTERM."""
    from service.serve import serve as run_server

    try:
        run_server(
            settings_with(host=host, port=port, fronts=fronts, device=device, precision=precision)
        )
    except ServiceError as error:
        stop(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


@app.command()
def verify() -> None:
    """Check every file of the model store against its card."""
    with ending():
        for path in ModelStore(settings_with().model_store).verify():
            typer.echo(f"sound: {path}")


@app.command()
def classify(
    paths: Annotated[list[Path], typer.Argument(help="images, and folders of images")],
    faces: Annotated[FaceMode, typer.Option(help="whole: each image is one face")] = "detect",
    as_json: Annotated[bool, typer.Option("--json", help="a JSON object a line")] = False,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="filepath and six scores, a row a face, empty scores where there is none; with a "
            "FILE.csv after it into that file; files that are listed there already are skipped",
        ),
    ] = False,
    url: Url = None,
    key_file: KeyFile = None,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Classify images; a table on a terminal. The exit status is 1 if one could not be read."""
    from service.commands import pictures, report, sources

    if as_json and as_csv:
        raise typer.BadParameter("--json or --csv, not both")
    settings = _settings(url, device, precision)
    resumed = _resumed(paths) if as_csv else None
    try:
        found = sources.find(paths, sources.PICTURES)
    except BadInput as error:
        raise typer.BadParameter(str(error), param_hint="PATHS") from error
    done = {Path(name).resolve() for name in resumed.done} if resumed else set()
    files = [file for file in found if file.resolve() not in done]
    if others := sources.left_out(paths, sources.PICTURES):
        typer.echo(f"passed over: {others}", err=True)
    if len(files) < len(found):
        typer.echo(f"{len(found) - len(files)} of {len(found)} were answered before", err=True)
    writer: report.Writer = report.JsonLinesWriter() if as_json else report.TableWriter()
    if as_csv:
        writer = report.CsvWriter(resumed.write if resumed else sys.stdout.write)

    async def work() -> int:
        async with _backend(settings, url, key_file) as backend:
            return await pictures.classify(backend, files, faces, writer, Console(stderr=True))

    with ending(), closing(resumed) if resumed else nullcontext():
        if as_csv and resumed is None:
            sys.stdout.write(csv_text([report.COLUMNS]))
        failed = asyncio.run(work()) if files else 0
    raise typer.Exit(1 if failed else 0)


@app.command()
def explain(
    image: Annotated[Path, typer.Argument(help="an image")],
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG file to write")],
    target: Target = None,
    face: Annotated[int, typer.Option(help="0 is the largest")] = 0,
    method: MethodOption = "gradcam",
    layer: LayerOption = "conv5",
    view: Annotated[View, typer.Option(help="what is drawn")] = "overlay",
    alpha: Alpha = 0.4,
    colormap: ColormapOption = "jet",
    faces: Annotated[FaceMode, typer.Option(help="whole: the image is one face")] = "detect",
    url: Url = None,
    key_file: KeyFile = None,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Draw why a face got its score."""
    check_outputs(image, (output, ".png"))
    settings = _settings(url, device, precision, workers=1)
    query = {
        "target": target,
        "face": face,
        "method": method,
        "layer": layer,
        "view": view,
        "alpha": alpha,
        "colormap": colormap,
        "faces": faces,
    }

    async def draw() -> bytes:
        async with _backend(settings, url, key_file) as backend:
            return await backend.explain(image.read_bytes(), query)

    with ending(), atomic_write(output) as file:
        file.write(asyncio.run(draw()))


@app.command()
def video(
    videos: Annotated[list[Path], typer.Argument(help="a video; several, and folders of them")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="MP4 to write, drawn on; a folder for several"),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", help="CSV to write, a row a face; a folder for several"),
    ] = None,
    every: Annotated[int | None, typer.Option(help="look at every n-th frame")] = None,
    fps: Annotated[float | None, typer.Option(help="look at so many frames a second")] = None,
    start: Annotated[float, typer.Option(help="where to begin, in seconds")] = 0.0,
    end: Annotated[float | None, typer.Option(help="where to stop, in seconds")] = None,
    target: Target = None,
    method: MethodOption = "gradcam",
    layer: LayerOption = "conv5",
    alpha: Alpha = 0.4,
    colormap: ColormapOption = "jet",
    landmarks: Annotated[bool, typer.Option(help="mark the five points of each face")] = True,
    faces: Annotated[FaceMode, typer.Option(help="whole: each frame is one face")] = "detect",
    url: Url = None,
    key_file: KeyFile = None,
    device: Device = None,
    precision: PrecisionOption = None,
) -> None:
    """Classify videos' faces, and draw what they show. Ctrl-C leaves no broken file.

    Of several, the outputs lie in folders, named like the videos; those that are there already
    are not made again.

    A service at --url tells what it saw or draws, not both: with -o and --csv
    it is sent the file twice; with -o alone once, and who was seen is not told.

    The exit status is 1 if the model could not answer for a frame, and if a video
    breaks off; its CSV holds the frames before that then.
    """
    from service.commands import sources
    from service.commands import video as command

    several = len(videos) > 1 or videos[0].is_dir()
    if several:
        check_folders((output, ".mp4"), (table, ".csv"))
        try:
            found = command.in_folders(videos, output, table)
        except BadInput as error:
            raise typer.BadParameter(str(error)) from error
        if others := sources.left_out(videos, sources.VIDEOS):
            typer.echo(f"passed over: {others}", err=True)
        jobs = [job for job in found if not job.done]
        if len(jobs) < len(found):
            told = f"{len(found) - len(jobs)} of {len(found)} were looked at before"
            typer.echo(told, err=True)
    else:
        check_outputs(videos[0], (output, ".mp4"), (table, ""))
        jobs = [command.Job(videos[0], output, table)]
    settings = _settings(url, device, precision)
    query = {
        "every": every,
        "fps": fps,
        "start": start,
        "end": end,
        "target": target,
        "method": method,
        "layer": layer,
        "alpha": alpha,
        "colormap": colormap,
        "landmarks": landmarks,
        "faces": faces,
    }

    async def work() -> int:
        async with _backend(settings, url, key_file) as backend:
            return await command.run(backend, jobs, query, Console(stderr=True), again=several)

    with ending():
        failed = asyncio.run(work()) if jobs else 0
    raise typer.Exit(1 if failed else 0)


def _settings(
    url: str | None, device: str | None, precision: str | None, **changes: object
) -> Settings:
    if url and (device or precision):
        raise typer.BadParameter("--device and --precision are of a model here, not at --url")
    return settings_with(device=device, precision=precision, **changes)


def _backend(
    settings: Settings, url: str | None, key_file: Path | None
) -> "AbstractAsyncContextManager[Backend]":
    from service.commands import backends

    if url is None:
        logs.configure(settings.with_changes(log_level="error"))
        return backends.local_backend(settings)
    return backends.remote_backend(url, None if key_file is None else key_file.read_text().strip())


def _resumed(paths: list[Path]) -> ResumableCsv | None:
    """The CSV file among the paths, taken out of them."""
    from service.commands import report

    tables = [path for path in paths if path.suffix.lower() == ".csv"]
    for table in tables:
        paths.remove(table)
    if not paths or len(tables) > 1:
        raise typer.BadParameter("give images and one FILE.csv at most", param_hint="PATHS")
    with ending():
        return ResumableCsv(tables[0], report.COLUMNS) if tables else None


if __name__ == "__main__":
    app()
