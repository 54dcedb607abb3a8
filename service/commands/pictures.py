"""Pictures classified from the command line: which, and their answers in order, with progress."""

import os
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.commands import backends, report
from service.errors import BadInput
from service.records import FaceMode

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(),
)


def find(paths: Iterable[Path]) -> list[Path]:
    """The files themselves, and the images anywhere below the folders, in order.

    Raises:
        BadInput: a folder has none.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(f for f in _below(path) if f.suffix.lower() in SUFFIXES and f.is_file())
        if not found:
            raise BadInput(f"there is no image in {path}")
        files.extend(found)
    return files


def _below(folder: Path) -> Iterator[Path]:
    """All files below a folder, those in linked folders, too, each folder once."""
    seen = set()
    for path, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(path, file) for file in files)


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
