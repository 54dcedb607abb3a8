"""The files that a command works on: those that are named, and those in folders."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from service.errors import BadInput

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})


def find(
    paths: Iterable[Path], suffixes: frozenset[str], outputs: Iterable[Path] = ()
) -> list[Path]:
    """The files themselves, and those below the folders with these suffixes, in order.

    Raises:
        BadInput: a folder has none; says what it has, as `left_out`.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        found = sorted(f for f in _below(path) if f.suffix.lower() in suffixes and f.is_file())
        if not found:
            others = left_out([path], suffixes, outputs)
            there = f", only {others}" if others else ""
            endings = ", ".join(sorted(suffixes))
            raise BadInput(f"{path} has no {endings} files{there}")
        files.extend(found)
    return files


def left_out(paths: Iterable[Path], suffixes: frozenset[str], outputs: Iterable[Path] = ()) -> str:
    """How many files below the folders have other suffixes: ``2 .heic, 1 .txt``.

    Those that the command itself writes, `outputs`, are not counted.
    """
    written = {path.resolve() for path in outputs}
    below = (f for path in paths if path.is_dir() for f in _below(path))
    others = (f for f in below if f.suffix.lower() not in suffixes and f.resolve() not in written)
    endings = Counter(f.suffix.lower() or "without an ending" for f in others)
    return ", ".join(f"{count} {ending}" for ending, count in endings.most_common())


def _below(folder: Path) -> Iterator[Path]:
    """All files below a folder that are not hidden, in linked folders, too, each folder once."""
    seen = set()
    for path, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(path, file) for file in files if file[0] != ".")
