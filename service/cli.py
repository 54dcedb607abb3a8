"""The ``gimefive`` command.

Each command imports what it needs itself: a server starts sooner without what asks one.
"""

from pathlib import Path
from typing import Annotated

import typer

import service
from service.commands import options
from service.commands.ending import ending, settings_with, stop
from service.errors import ServiceError
from service.explanation import View
from service.records import FaceMode
from service.store import ModelStore

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Facial-emotion classification with GiMeFive.",
)


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
    device: options.Device = None,
    precision: options.Precision = None,
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
    url: options.Url = None,
    key_file: options.KeyFile = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Classify images; a table on a terminal. The exit status is 1 if one could not be read."""
    from service.commands import backends, pictures

    if as_json and as_csv:
        raise typer.BadParameter("--json or --csv, not both")
    with ending():
        backend = backends.chosen(url, key_file, device, precision)
        failed = pictures.run(backend, paths, faces, as_json=as_json, as_csv=as_csv)
    raise typer.Exit(1 if failed else 0)


@app.command()
def explain(
    image: Annotated[Path, typer.Argument(help="an image")],
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG file to write")],
    target: options.Target = None,
    face: Annotated[int, typer.Option(help="0 is the largest")] = 0,
    method: options.MethodOption = "gradcam",
    layer: options.LayerOption = "conv5",
    view: Annotated[View, typer.Option(help="what is drawn")] = "overlay",
    alpha: options.Alpha = 0.4,
    colormap: options.ColormapOption = "jet",
    faces: Annotated[FaceMode, typer.Option(help="whole: the image is one face")] = "detect",
    url: options.Url = None,
    key_file: options.KeyFile = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Draw why a face got its score."""
    from service.commands import backends, pictures

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
    with ending():
        backend = backends.chosen(url, key_file, device, precision, workers=1)
        pictures.explain(backend, image, output, query)


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
    target: options.Target = None,
    method: options.MethodOption = "gradcam",
    layer: options.LayerOption = "conv5",
    alpha: options.Alpha = 0.4,
    colormap: options.ColormapOption = "jet",
    landmarks: Annotated[bool, typer.Option(help="mark the five points of each face")] = True,
    faces: Annotated[FaceMode, typer.Option(help="whole: each frame is one face")] = "detect",
    url: options.Url = None,
    key_file: options.KeyFile = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Classify videos' faces, and draw what they show. Ctrl-C leaves no broken file.

    Of several, the outputs lie in folders, named like the videos; those that are there already
    are not made again.

    A service at --url tells what it saw or draws, not both: with -o and --csv
    it is sent the file twice; with -o alone once, and who was seen is not told.

    The exit status is 1 if the model could not answer for a frame, and if a video
    breaks off; its CSV holds the frames before that then.
    """
    from service.commands import backends
    from service.commands import video as command

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
    with ending():
        backend = backends.chosen(url, key_file, device, precision)
        failed = command.run(backend, videos, output, table, query)
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    app()
