"""Pictures classified from the command line: their answers in order, with progress."""

from contextlib import aclosing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.commands import backends, report
from service.records import FaceMode

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


async def classify(
    backend: backends.Backend,
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
