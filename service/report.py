"""How the command line writes answers: a table for people, JSON lines, or CSV."""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table

from service.api import schemas
from service.records import EMOTIONS, Classification, ModelInfo


@dataclass(frozen=True)
class Row:
    """What became of one file.

    Attributes:
        path: the file.
        answer: its classification, if there is one.
        problem: why there is none.
    """

    path: Path
    answer: Classification | None = None
    problem: str | None = None


class Writer(Protocol):
    """Somewhere to write rows to, in order."""

    def write(self, row: Row) -> None:
        """Write one file's answer or problem."""

    def close(self) -> None:
        """Nothing follows."""


class CsvWriter:
    """The paper's columns: ``filepath`` and the six scores; a line a face, none for a problem."""

    def __init__(self) -> None:
        self._out = csv.writer(sys.stdout, lineterminator="\n")
        self._out.writerow(("filepath", *EMOTIONS))

    def write(self, row: Row) -> None:
        """Write a line for each face."""
        for prediction in row.answer.predictions if row.answer else ():
            self._out.writerow((row.path, *prediction.scores.tolist()))

    def close(self) -> None:
        """Nothing follows."""
        sys.stdout.flush()


class JsonLinesWriter:
    """An object a file: ``path`` and what /classify answers, or ``problem``."""

    def __init__(self, model: ModelInfo, threshold: float) -> None:
        self._model = model
        self._threshold = threshold

    def write(self, row: Row) -> None:
        """Write the file's line."""
        content = (
            schemas.classification(row.answer, self._model, self._threshold)
            if row.answer
            else {"problem": row.problem}
        )
        print(json.dumps({"path": str(row.path), **content}), flush=True)  # noqa: T201  # the command's output

    def close(self) -> None:
        """Nothing follows."""


class TableWriter:
    """A table for people, printed at the end."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._table = Table("file", "emotion", *EMOTIONS, box=None, pad_edge=False)
        self._table.columns[0].overflow = "fold"  # the one that gives way on a narrow terminal
        for column in self._table.columns[1:]:
            column.no_wrap = True
        for column in self._table.columns[2:]:
            column.justify = "right"

    def write(self, row: Row) -> None:
        """Add a row for each face, or one that says why there is none."""
        if row.answer is None:
            self._table.add_row(str(row.path), "[red]problem[/red]")
            return
        if not row.answer.predictions:
            self._table.add_row(str(row.path), "[dim]no face[/dim]")
        for prediction in row.answer.predictions:
            unsure = prediction.confidence < self._threshold
            self._table.add_row(
                str(row.path),
                f"[dim]{prediction.emotion}?[/dim]" if unsure else f"[bold]{prediction.emotion}",
                *(_percent(score, prediction.confidence) for score in prediction.scores.tolist()),
            )

    def close(self) -> None:
        """Print the table."""
        Console().print(self._table)


def _percent(score: float, highest: float) -> str:
    return f"[bold]{score:.1%}[/bold]" if score == highest else f"{score:.1%}"
