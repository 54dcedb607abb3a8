"""A CSV file that a later run resumes where an interrupted one stopped."""

import codecs
import csv
import errno
import fcntl
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

from service.atomic import atomic_write
from service.csv_text import csv_text
from service.errors import BadInput


class ResumableCsv:
    """Rows on disk, grouped into entries by their first cell; an entry is written whole or not.

    A file that a spreadsheet has saved is rewritten as it was written here, with the same rows.

    The header comes with the first entry: a file without entries is removed when it is closed.

    Attributes:
        done: the names of its entries.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        """Open the file or create it; an entry that was cut short is removed.

        Raises:
            BadInput: the file is of another kind, or another run writes it.
            OSError: it cannot be read or written.
        """
        self._path = path
        self._head = csv_text([columns]).encode()
        self._file = _locked(path)
        try:
            self.done = self._continue()
        except BaseException:
            os.close(self._file)
            raise

    def _continue(self) -> set[str]:
        path, head = self._path, self._head
        if not path.is_file():  # reading a pipe would wait for its writer
            raise BadInput(f"{path} is not a file that rows can be added to: choose another name")
        written = table = path.read_bytes()
        try:
            if not head.startswith(table) and not table.startswith(head):
                table = _plain(written)
                if not table.startswith(head):
                    raise BadInput(f"{path} is another kind of table: choose another name")
            kept = _whole(table)
            done = {row[0] for row in _rows(kept)[1:] if row}
        except csv.Error as error:
            raise BadInput(f"{path} is damaged ({error}): choose another name") from error
        if written.startswith(kept):
            os.truncate(self._file, len(kept))
        else:
            self._replace(kept)
        return done

    def _replace(self, content: bytes) -> None:
        """Write the file anew, completely or not at all."""
        with atomic_write(self._path) as file:
            file.write(content)
        replaced, self._file = self._file, _locked(self._path)
        os.close(replaced)

    def write(self, entry: str) -> None:
        """Append an entry's rows, as `csv_text` makes them, whole or not at all.

        Raises:
            OSError: they cannot be written; names the file.
        """
        size = os.fstat(self._file).st_size
        data = (b"" if size else self._head) + entry.encode(errors="surrogateescape")
        try:
            if os.write(self._file, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            os.truncate(self._file, size)
            raise OSError(error.errno, error.strerror, str(self._path)) from error

    @property
    def empty(self) -> bool:
        """Whether nothing is written."""
        return not os.fstat(self._file).st_size

    def close(self) -> None:
        """Nothing follows."""
        if self.empty:
            Path(os.path.realpath(self._path)).unlink(missing_ok=True)
        os.close(self._file)


def _locked(path: Path) -> int:
    """A descriptor of the file, created if missing, that no other run has.

    Raises:
        BadInput: another run writes it.
        OSError: it cannot be read or written.
    """
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(file).st_nlink:  # removed or replaced since by another run
            raise BlockingIOError
    except BaseException as error:
        os.close(file)
        if isinstance(error, BlockingIOError):
            raise BadInput(f"{path} is being written by another run: wait until it ends") from error
        raise
    return file


def _rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(errors="surrogateescape"), newline="")))


def _plain(data: bytes) -> bytes:
    """A table as `csv_text` writes it: spreadsheets save other quotes, line ends, and a mark."""
    rows = _rows(data.removeprefix(codecs.BOM_UTF8))
    return csv_text(rows).encode(errors="surrogateescape")


def _whole(data: bytes) -> bytes:
    """The data without its last entry, if that does not end with its line."""
    end = seen = quotes = 0
    for newline in re.finditer(rb"\n", data):
        quotes += data.count(b'"', seen, newline.end())
        seen = newline.end()
        if quotes % 2 == 0:  # else the line goes on: there is a name with a line feed
            end = seen
    whole = data[:end]
    if whole == data:
        return data
    *_, cut = csv.reader([data[len(whole) :].decode(errors="surrogateescape")])
    rows = _rows(whole)
    if len(rows) > 1 and rows[-1][0].startswith(cut[0]):  # perhaps rows of the same entry
        name = rows[-1][0]
        rows = [row for row in rows if row[0] != name]
    return csv_text(rows).encode(errors="surrogateescape")
