"""Files that are either complete or absent."""

import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends without an error, and is removed otherwise.

    A link stays, and the file that it leads to is replaced.

    Raises:
        OSError: it cannot be created or written, or cannot get its name; names `path`.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        raise FileExistsError(errno.EEXIST, "Not a file that can be replaced", str(path))
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with _naming(path):
            file = io.BufferedRandom(_Part(part, path))
        with file:
            yield file
        with _naming(path):
            part.replace(target)
    finally:
        part.unlink(missing_ok=True)


class _Part(io.FileIO):
    """A file that will have another name."""

    def __init__(self, part: Path, path: Path) -> None:
        super().__init__(part, "x+")
        self._path = path

    def write(self, data: "ReadableBuffer", /) -> int:
        with _naming(self._path):
            return super().write(data)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have errors name `path` in place of a file that the caller does not know."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
