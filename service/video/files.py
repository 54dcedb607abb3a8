"""Temporary video files: a full disk, and a second reader of an open file."""

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import structlog

from service.errors import DiskFull

log = structlog.get_logger(__name__)


@contextmanager
def full_disk_reported() -> Iterator[None]:
    """Turn "no space left" into an error for the client.

    Raises:
        DiskFull: there is none.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        log.error("a video cannot be written", why=str(error))
        raise DiskFull("there is no room for the video just now: try again later", 60) from error


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
