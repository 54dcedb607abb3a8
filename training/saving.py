"""Atomic writing of files."""

from pathlib import Path
from typing import Any

import torch


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
