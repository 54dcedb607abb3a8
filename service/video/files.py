"""Open files for FFmpeg: one to write, and a second reader of the same."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


class Sink:
    """A file to write to, whose failures do not reach FFmpeg: it cannot pass them on."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._failure: OSError | None = None

    def write(self, data: bytes) -> int:
        """Write at the current position."""
        with self._keeping_failures():
            self._file.write(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        with self._keeping_failures():
            self._file.seek(offset, whence)
        return self.tell()

    def tell(self) -> int:
        """The position."""
        return self._file.tell()

    def check(self) -> None:
        """Check that nothing has failed.

        Raises:
            OSError: the first failure.
        """
        if self._failure:
            raise self._failure

    @contextmanager
    def _keeping_failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._failure = self._failure or error


class FileView(io.RawIOBase):
    """An independent reader of a file that is already open, perhaps without a name."""

    def __init__(self, file: BinaryIO) -> None:
        self._number = file.fileno()
        self._position = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Always true."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # any buffer is one
        """Read from the current position."""
        data = os.pread(self._number, len(buffer), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size()}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def _size(self) -> int:
        return os.fstat(self._number).st_size
