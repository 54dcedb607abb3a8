"""The ``gimefive`` command.

Each command imports what it alone needs, so that a server starts sooner.
"""

from pathlib import Path
from typing import Annotated

import typer

import service
from service.commands import options
from service.commands.ending import ending, open_streams, settings_with, stop
from service.errors import ServiceError
from service.explanation import View
from service.store import ModelStore

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _version(wanted: bool) -> None:  # typer calls it with the flag
    if wanted:
        typer.echo(f"gimefive {service.__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001  # the callback above handles it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Facial-emotion classification with GiMeFive. Settings: GIMEFIVE_*, see docs/operations.md."""
    open_streams()


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    fronts: Annotated[
        int | None, typer.Option(help="Front processes; several can feed one GPU.")
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
    """Check every file in the model store against its checksum."""
    with ending():
        for path in ModelStore(settings_with().model_store).verify():
            typer.echo(f"sound: {path}")


@app.command()
def classify(
    paths: Annotated[
        list[Path],
        typer.Argument(readable=False, help="Images, and folders of images."),  # one fails alone
    ],
    faces: options.Faces = "detect",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="Print CSV: filepath and six scores, one row per face, empty scores for an image "
            "without a face. With a FILE.csv among the paths, append to that file and skip the "
            "images that it lists already; relative paths in it start from its folder.",
        ),
    ] = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Classify the faces in images, and print a table. Exits with 1 if an image fails."""
    from service.commands import backends, pictures

    if as_json and as_csv:
        raise typer.BadParameter("use --json or --csv, not both")
    with ending():
        backend = backends.chosen(url, key_file, device, precision)
        failed = pictures.run(backend, paths, faces, as_json=as_json, as_csv=as_csv)
    raise typer.Exit(1 if failed else 0)


@app.command()
def explain(
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The image.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG file to write.")],
    target: options.Target = None,
    face: Annotated[int, typer.Option(min=0, help="Which face; 0 is the largest.")] = 0,
    method: options.MethodOption = "gradcam",
    layer: options.LayerOption = "conv5",
    view: Annotated[View, typer.Option(help="What to draw.")] = "overlay",
    alpha: options.Alpha = 0.4,
    colormap: options.ColormapOption = "jet",
    faces: options.Faces = "detect",
    url: options.Url = None,
    key_file: options.KeyFile = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Draw a heat map that explains the score of a face."""
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
    videos: Annotated[
        list[Path], typer.Argument(exists=True, help="A video, or several, and folders of videos.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Annotated MP4 to write; a folder for several videos."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", help="CSV to write, one row per face; a folder for several videos."),
    ] = None,
    every: Annotated[int | None, typer.Option(min=1, help="Sample every n-th frame.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second to sample.")] = None,
    start: Annotated[float, typer.Option(min=0, help="Start time, in seconds.")] = 0.0,
    end: Annotated[float | None, typer.Option(help="End time, in seconds.")] = None,
    target: options.Target = None,
    method: options.MethodOption = "gradcam",
    layer: options.LayerOption = "conv5",
    alpha: options.Alpha = 0.4,
    colormap: options.ColormapOption = "jet",
    landmarks: Annotated[bool, typer.Option(help="Draw each face's five landmarks.")] = True,
    faces: options.Faces = "detect",
    url: options.Url = None,
    key_file: options.KeyFile = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Classify the faces in videos, and annotate them. Ctrl-C leaves no partial file.

    With several videos, the outputs go to folders and are named after the videos; run
    again, it skips the videos whose outputs exist.

    With --url, -o and --csv together upload each video twice, since a service either
    classifies or annotates; with -o alone there is no summary of the people seen.

    Exits with 1 if a video fails or is cut short, or the model fails on a frame. The CSV
    of a video that is cut short has the frames before that.
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
