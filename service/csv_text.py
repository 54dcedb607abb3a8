"""Rows as CSV (RFC 4180), each line ended by a line feed alone."""

import csv
import io
from collections.abc import Iterable, Sequence


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV.

    Python's writer leaves a carriage return unquoted, which readers take for the end of a line: a
    row that holds one is quoted throughout.
    """
    with io.StringIO(newline="") as out:
        plain = csv.writer(out, lineterminator="\n")
        quoted = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in rows:
            (quoted if any("\r" in str(cell) for cell in row) else plain).writerow(row)
        return out.getvalue()
