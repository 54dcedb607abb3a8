"""Files that are there whole or not at all."""

from pathlib import Path
from typing import Any

import torch


def write(state: Any, path: Path) -> None:  # noqa: ANN401  # whatever torch saves
    """Save what `torch.load` gives back; a run that is killed meanwhile leaves the old file."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def write_text(text: str, path: Path) -> None:
    """Write a text file, likewise."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)
