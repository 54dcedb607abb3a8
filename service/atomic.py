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
        OSError: it cannot be written there; names `path`.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        file = part.open("x+b")
    except OSError as error:  # which names a file that the caller does not know
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
