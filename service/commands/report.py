"""How results are written: as a table for people, JSON lines, or CSV."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import rich.console
from rich.markup import escape
from rich.table import Table

from service.commands.sources import place
from service.contract import schemas
from service.csv_text import csv_text
from service.records import EMOTIONS


@dataclass(frozen=True)
class Row:
    """The result for one file.

    Attributes:
        path: the file.
        answer: its classification, if there is one.
        problem: why there is none.
    """

    path: Path
    answer: schemas.ClassifyResponse | None = None
    problem: str | None = None


def printed(text: str) -> None:
    """Print text that has its own line ends."""
    print(text, end="", flush=True)  # noqa: T201  # the command's output


class Console(rich.console.Console):
    """A console that raises `BrokenPipeError` when its reader is gone, as printing does."""

    def on_broken_pipe(self) -> NoReturn:
        """Called by rich, whose own console ends the process with status 1."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Writer(Protocol):
    """Somewhere to write rows to, in order."""

    def write(self, row: Row) -> None:
        """Write one file's answer or problem."""

    def close(self) -> None:
        """Nothing follows."""


COLUMNS = ("filepath", *EMOTIONS)
"""The paper's."""


class CsvWriter:
    """The paper's columns, one row per face.

    A picture without a face has a row without scores, so that it counts as done; one that failed
    has none.
    """

    def __init__(
        self,
        write: Callable[[str], object],
        check: Callable[[schemas.ModelRef], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Write nothing yet, not even the header.

        Args:
            write: called with all rows of a file at once.
            check: called with the model that answered before its rows are written; may raise.
            folder: where relative paths are to start from; None for the current folder.
        """
        self._write = write
        self._check = check
        self._folder = folder

    def write(self, row: Row) -> None:
        """Write the lines of a file's faces."""
        if row.answer:
            if self._check:
                self._check(row.answer.model)
            scores = [face.scores.model_dump().values() for face in row.answer.faces]
            nothing = dict.fromkeys(EMOTIONS).values()
            name = self._name(row.path)
            self._write(csv_text([(name, *values) for values in scores or [nothing]]))

    def _name(self, path: Path) -> str:
        if self._folder is None or path.is_absolute():
            return str(path)
        name = os.path.relpath(path, self._folder)
        if place(self._folder / name) == place(path):
            return name
        return os.path.relpath(place(path), self._folder)  # it goes up from a linked folder

    def close(self) -> None:
        """Nothing follows."""


class PrintedCsv:
    """Rows on standard output; the header comes with the first."""

    def __init__(self) -> None:
        self._head = csv_text([COLUMNS])

    def write(self, rows: str) -> None:
        """Print rows, as `csv_text` makes them."""
        printed(self._head + rows)
        self._head = ""


class JsonLinesWriter:
    """One object per file: ``path`` and the answer of /classify, or ``problem``."""

    def write(self, row: Row) -> None:
        """Write the file's line."""
        content = row.answer.model_dump() if row.answer else {"problem": row.problem}
        printed(f"{json.dumps({'path': str(row.path), **content})}\n")

    def close(self) -> None:
        """Nothing follows."""


WIDE = 10_000
"""Columns of a file or a pipe, where rows are not to be broken into lines."""


class TableWriter:
    """A table for people, printed at the end."""

    def __init__(self) -> None:
        self._table = Table("file", "emotion", *EMOTIONS, box=None, pad_edge=False)
        self._table.columns[0].overflow = "fold"  # the one that gives way on a narrow terminal
        for column in self._table.columns[1:]:
            column.no_wrap = True
        for column in self._table.columns[2:]:
            column.justify = "right"

    def write(self, row: Row) -> None:
        """Add a row for each face, or one that says why there is none."""
        path = escape(str(row.path))
        if row.answer is None:
            self._table.add_row(path, "[red]problem[/red]")
            return
        if not row.answer.faces:
            self._table.add_row(path, "[dim]no face[/dim]")
        for face in row.answer.faces:
            self._table.add_row(
                path,
                f"[dim]{face.emotion}?[/dim]" if face.abstained else f"[bold]{face.emotion}",
                *(_percent(score, face.confidence) for score in face.scores.model_dump().values()),
            )

    def close(self) -> None:
        """Print the table, if it has rows."""
        if not self._table.rows:
            return
        console = Console()
        if not console.is_terminal:
            console.width = WIDE
        console.print(self._table)


def counted(count: int, thing: str) -> str:
    """How many of a thing: ``1 face``, ``2 faces``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _percent(score: float, highest: float) -> str:
    return f"[bold]{score:.1%}[/bold]" if score == highest else f"{score:.1%}"
