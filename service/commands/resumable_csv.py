"""A CSV file that a later run continues where an interrupted one stopped."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from service.errors import BadInput


class ResumableCsv:
    """Rows on disk, several to an entry, whose first cell names it; entries are written whole.

    Attributes:
        done: the names of the entries that are in it.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Open the file, or begin it; an entry that was cut short is taken out.

        Raises:
            BadInput: there is a file of another kind by that name.
            OSError: it cannot be read or written.
        """
        head = text([columns]).encode()
        written = path.read_bytes() if path.exists() else b""
        if written and not head.startswith(written) and not written.startswith(head):
            raise BadInput(f"{path} holds something else: choose another name")
        kept = _whole(written) or head
        self.done = {row[0] for row in _rows(kept)[1:] if row}
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        os.truncate(self._file, len(kept) if written.startswith(kept) else 0)
        if not written.startswith(kept):
            os.write(self._file, kept)

    def write(self, entry: str) -> None:
        """Append an entry's rows, as `text` makes them, at once."""
        os.write(self._file, entry.encode(errors="surrogateescape"))

    def close(self) -> None:
        """Nothing follows."""
        os.close(self._file)


def text(rows: Sequence[Sequence[object]]) -> str:
    """Rows as CSV."""
    with io.StringIO() as out:
        csv.writer(out, lineterminator="\n").writerows(rows)
        return out.getvalue()


def _rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(errors="surrogateescape"))))


def _whole(data: bytes) -> bytes:
    """The data without its last entry, if that does not end with its line."""
    whole = data[: data.rfind(b"\n") + 1]
    if whole == data:
        return data
    *_, cut = csv.reader([data[len(whole) :].decode(errors="surrogateescape")])
    rows = _rows(whole)
    if len(rows) > 1 and rows[-1][0].startswith(cut[0]):  # perhaps rows of the same entry
        name = rows[-1][0]
        rows = [row for row in rows if row[0] != name]
    return text(rows).encode(errors="surrogateescape")
