"""Atomic writing of files and folders."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from training.errors import ExportError


def write(state: Any, path: Path) -> None:  # noqa: ANN401  # whatever torch saves
    """Save a state for `torch.load`; if interrupted, the old file remains."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def write_text(text: str, path: Path) -> None:
    """Write a text file; if interrupted, the old file remains."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)


def check_new(version: Path) -> None:
    """Make sure that the folder of a version does not exist.

    Raises:
        ExportError: it does.
    """
    if version.exists():
        raise ExportError(
            f"{version} exists and versions never change: choose another --version, "
            "or delete the folder if nobody uses it yet"
        )


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """An empty folder that becomes `path` when the context ends, or vanishes if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", dir=path.parent) as temporary:
        draft = Path(temporary) / path.name
        draft.mkdir()
        yield draft
        draft.rename(path)
