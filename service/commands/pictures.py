"""The commands that work on pictures: classify and explain."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, closing
from pathlib import Path

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.atomic import atomic_write
from service.commands import backends, report, sources
from service.commands.backends import Backend
from service.commands.ending import check_outputs
from service.commands.provenance import Provenance
from service.commands.resumable_csv import ResumableCsv
from service.errors import BadInput
from service.explanation import check_view
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
    """Classify pictures and write the results; returns how many failed.

    Args:
        backend: yet to be opened.
        paths: pictures, and folders of them; with `as_csv`, possibly the CSV file to append to.
        faces: find faces, or take each picture as one.
        as_json: write JSON lines.
        as_csv: write CSV; if neither, a table for people.

    Raises:
        BadParameter: there are no pictures, or there is more than one CSV file.
        ServiceError: the service cannot be asked at all.
    """
    tables = [path for path in paths if as_csv and path.suffix.lower() == ".csv"]
    images = [path for path in paths if path not in tables]
    if not images or len(tables) > 1:
        raise typer.BadParameter("give images, and at most one FILE.csv", param_hint="PATHS")
    if tables:
        return _run_into(tables[0], backend, images, faces)
    files = _found(images)
    writer: report.Writer
    if as_csv:
        writer = report.CsvWriter(report.PrintedCsv().write)
    else:
        writer = report.JsonLinesWriter() if as_json else report.TableWriter()
    return _answer(backend, files, faces, writer)


def _run_into(
    path: Path,
    backend: AbstractAsyncContextManager[Backend],
    images: Sequence[Path],
    faces: FaceMode,
) -> int:
    """As `run`, with rows for the pictures that a CSV file does not list yet.

    Relative paths in the file start from its folder, so that they mean the same in every run.
    """
    origin, folder = Provenance(path, faces), sources.real(path.parent)
    found = _found(images, (path, origin.note))
    with closing(ResumableCsv(path, report.COLUMNS)) as table:
        files = _not_in({folder / name for name in table.done}, found)
        known = not table.done or origin.resume()
        if files and not known:
            told = f"{path} does not say which model wrote its rows: it may be another"
            typer.echo(told, err=True)
        writer = report.CsvWriter(table.write, origin.check, folder)
        try:
            return _answer(backend, files, faces, writer)
        finally:
            if table.empty:
                origin.note.unlink(missing_ok=True)


def _answer(
    backend: AbstractAsyncContextManager[Backend],
    files: list[Path],
    faces: FaceMode,
    writer: report.Writer,
) -> int:
    async def work() -> int:
        async with backend as opened:
            return await classify(opened, files, faces, writer, report.Console(stderr=True))

    return asyncio.run(work()) if files else 0


def _found(images: Sequence[Path], outputs: Sequence[Path] = ()) -> list[Path]:
    """The pictures themselves, and those in folders; prints what is skipped but for `outputs`.

    Raises:
        BadParameter: a folder has none.
    """
    try:
        found = sources.find(images, sources.PICTURES, outputs)
    except BadInput as error:
        raise typer.BadParameter(str(error), param_hint="PATHS") from error
    if others := sources.left_out(images, sources.PICTURES, outputs):
        typer.echo(f"skipped: {others}", err=True)
    return found


def _not_in(done: Iterable[Path], found: Sequence[Path]) -> list[Path]:
    """The pictures that are not done yet; prints how many are."""
    answered = {sources.place(path) for path in done}
    files = [file for file in found if sources.place(file) not in answered]
    if len(files) < len(found):
        typer.echo(f"{len(found) - len(files)} of {len(found)} done before", err=True)
    return files


def explain(
    backend: AbstractAsyncContextManager[Backend],
    image: Path,
    output: Path,
    query: backends.Query,
) -> None:
    """Explain the score of a face in a picture.

    Args:
        backend: yet to be opened.
        image: the picture.
        output: PNG to write.
        query: that of POST /explain.

    Raises:
        BadParameter: the output cannot be written, or the view has nothing to show.
        ServiceError: there is no explanation.
    """
    check_outputs(image, (output, ".png"))
    try:
        check_view(query["view"], query["method"])
    except BadInput as error:
        raise typer.BadParameter(str(error)) from error
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
    progress_on: report.Console,
) -> int:
    """Classify files concurrently, write the results in order; returns how many failed."""
    failed = 0
    progress = Progress(
        *COLUMNS,
        console=progress_on,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else rows would end up on the terminal
        disable=not progress_on.is_terminal,
    )
    with closing(writer), progress:
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
    return failed
