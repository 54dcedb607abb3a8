"""Files that are either complete or absent."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends without an error, and is removed otherwise.

    Raises:
        OSError: it cannot be created, or cannot get its name; names `path`.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with _naming(path):
        file = part.open("x+b")
    try:
        with file:
            yield file
        with _naming(path):
            part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have errors name `path` in place of a file that the caller does not know."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
