"""Pictures classified and explained from the command line."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, closing, nullcontext
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.atomic import atomic_write
from service.commands import backends, report, sources
from service.commands.backends import Backend
from service.commands.ending import check_outputs
from service.commands.resumable_csv import ResumableCsv
from service.csv_text import csv_text
from service.errors import BadInput
from service.records import FaceMode

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


def run(
    backend: AbstractAsyncContextManager[Backend],
    paths: Sequence[Path],
    faces: FaceMode,
    *,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Classify pictures and write the answers; how many failed.

    Args:
        backend: who is asked, yet to be opened.
        paths: pictures, and folders of them; with `as_csv` maybe the CSV file that is written to.
        faces: find faces, or take each picture as one.
        as_json: write lines of JSON,
        as_csv: or CSV; a table for people if neither.

    Raises:
        BadParameter: there are no pictures, or there is more than one CSV file.
        ServiceError: the service cannot be asked at all.
    """
    tables = [path for path in paths if as_csv and path.suffix.lower() == ".csv"]
    images = [path for path in paths if path not in tables]
    if not images or len(tables) > 1:
        raise typer.BadParameter("give images and one FILE.csv at most", param_hint="PATHS")
    table = ResumableCsv(tables[0], report.COLUMNS) if tables else None
    with closing(table) if table else nullcontext():
        files = _files(images, table.done if table else ())
        writer: report.Writer = report.JsonLinesWriter() if as_json else report.TableWriter()
        if table:
            writer = report.CsvWriter(table.write)
        elif as_csv:
            sys.stdout.write(csv_text([report.COLUMNS]))
            writer = report.CsvWriter(sys.stdout.write)

        async def work() -> int:
            async with backend as opened:
                return await classify(opened, files, faces, writer, Console(stderr=True))

        return asyncio.run(work()) if files else 0


def _files(images: Sequence[Path], done: Iterable[str]) -> list[Path]:
    """The pictures still to be classified; says what is left out.

    Raises:
        BadParameter: a folder has none.
    """
    try:
        found = sources.find(images, sources.PICTURES)
    except BadInput as error:
        raise typer.BadParameter(str(error), param_hint="PATHS") from error
    if others := sources.left_out(images, sources.PICTURES):
        typer.echo(f"passed over: {others}", err=True)
    answered = {Path(name).resolve() for name in done}
    files = [file for file in found if file.resolve() not in answered]
    if len(files) < len(found):
        typer.echo(f"{len(found) - len(files)} of {len(found)} were answered before", err=True)
    return files


def explain(
    backend: AbstractAsyncContextManager[Backend],
    image: Path,
    output: Path,
    query: backends.Query,
) -> None:
    """Draw why a face of a picture got its score.

    Args:
        backend: who is asked, yet to be opened.
        image: the picture.
        output: PNG to write.
        query: that of POST /explain.

    Raises:
        BadParameter: nothing can be written there.
        ServiceError: there is no explanation.
    """
    check_outputs(image, (output, ".png"))
    data = image.read_bytes()

    async def draw() -> bytes:
        async with backend as opened:
            return await opened.explain(data, query)

    with atomic_write(output) as file:
        file.write(asyncio.run(draw()))


async def classify(
    backend: Backend,
    files: list[Path],
    faces: FaceMode,
    writer: report.Writer,
    progress_on: Console,
) -> int:
    """Classify all files, several at once, and write the answers in order; how many failed."""
    failed = 0
    with Progress(
        *COLUMNS, console=progress_on, transient=True, disable=not progress_on.is_terminal
    ) as progress:
        bar = progress.add_task("classifying", total=len(files))
        async with aclosing(backends.rows(backend, files, faces)) as rows:
            async for row in rows:
                if row.problem is not None:
                    failed += 1
                    progress_on.print(
                        f"{row.path}: {row.problem}", style="red", markup=False, soft_wrap=True
                    )
                writer.write(row)
                progress.advance(bar)
    writer.close()
    return failed
