"""Pieces of Markdown pages."""

from collections.abc import Iterable, Sequence
from textwrap import fill

UNKNOWN = "-"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """An aligned table: the first `words` columns to the left, the others to the right."""
    cells = [list(header), *(list(row) for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    rule = ["-" * w if i < words else "-" * (w - 1) + ":" for i, w in enumerate(widths)]

    def line(row: Sequence[str]) -> str:
        pairs = enumerate(zip(row, widths, strict=True))
        padded = (cell.ljust(w) if i < words else cell.rjust(w) for i, (cell, w) in pairs)
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(cells[0]), line(rule), *(line(row) for row in cells[1:])])


def paragraph(text: str) -> str:
    """The text in lines of up to 120 characters."""
    return fill(text, width=120, break_long_words=False, break_on_hyphens=False)


def percent(value: float | None) -> str:
    """A share in percent with one decimal; `UNKNOWN` if there is none."""
    return UNKNOWN if value is None else f"{100 * value:.1f}"
