"""The files that a command works on: those that are named, and those in folders."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from service.errors import BadInput

PICTURES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
VIDEOS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi"})


def find(
    paths: Iterable[Path], suffixes: frozenset[str], outputs: Iterable[Path] = ()
) -> list[Path]:
    """The files themselves, and those below the folders with these suffixes, in order.

    Links that lead nowhere are among them, since their files are missing.

    Raises:
        BadInput: a folder has none; says what it has, as `left_out`.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        named = (f for f in _below(path) if f.suffix.lower() in suffixes)
        found = sorted(f for f in named if f.is_file() or not f.exists())
        if not found:
            others = left_out([path], suffixes, outputs)
            there = f", only {others}" if others else ""
            endings = ", ".join(sorted(suffixes))
            raise BadInput(f"{path} has no {endings} files{there}")
        files.extend(found)
    return files


def left_out(paths: Iterable[Path], suffixes: frozenset[str], outputs: Iterable[Path] = ()) -> str:
    """How many files below the folders have other suffixes, and which folders cannot be read.

    For example ``2 .heic, 1 .txt, photos/lost (Permission denied)``. The files that the command
    itself writes, `outputs`, are not counted.
    """
    written = {real(path) for path in outputs}
    closed: list[OSError] = []
    below = (f for path in paths if path.is_dir() for f in _below(path, closed.append))
    others = (f for f in below if f.suffix.lower() not in suffixes and real(f) not in written)
    endings = Counter(f.suffix.lower() or "without an ending" for f in others)
    told = [f"{count} {ending}" for ending, count in endings.most_common()]
    return ", ".join([*told, *(f"{error.filename} ({error.strerror})" for error in closed)])


def real(path: Path) -> Path:
    """A path without links; unlike `Path.resolve`, of a link in a circle, too."""
    return Path(os.path.realpath(path))


def _below(folder: Path, closed: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """All files below a folder that are not hidden, in linked folders, too, each folder once.

    Args:
        folder: where to search.
        closed: called for each folder that cannot be read.
    """
    seen = set()
    for path, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        place = os.path.realpath(path)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        yield from (Path(path, file) for file in files if file[0] != ".")
