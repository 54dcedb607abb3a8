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
    """The files themselves, and those below the folders with these suffixes, in order, each once.

    Links that lead nowhere and folders that cannot be read are among them, since files are missing
    there.

    Raises:
        BadInput: a folder has none; says what it has, as `left_out`.
    """
    files: dict[Path, Path] = {}
    for path in paths:
        found = _found(path, suffixes) if is_folder(path) else [path]
        if not found:
            others = left_out([path], suffixes, outputs)
            there = f", only {others}" if others else ""
            endings = ", ".join(sorted(suffixes))
            raise BadInput(f"{path} has no {endings} files{there}")
        for file in found:
            files.setdefault(place(file), file)
    return list(files.values())


def left_out(paths: Iterable[Path], suffixes: frozenset[str], outputs: Iterable[Path] = ()) -> str:
    """How many files below the folders have other suffixes, for example ``2 .heic, 1 .txt``.

    The files that the command itself writes, `outputs`, are not counted.
    """
    written = {real(path) for path in outputs}
    below = {real(file): file for path in paths if is_folder(path) for file in _below(path)}
    others = (file.suffix.lower() for name, file in below.items() if name not in written)
    endings = Counter(each or "without an ending" for each in others if each not in suffixes)
    return ", ".join(f"{count} {ending}" for ending, count in endings.most_common())


def is_folder(path: Path) -> bool:
    """Whether a path is a folder; unlike `Path.is_dir`, also where it may not be asked about."""
    return os.path.isdir(path)  # noqa: PTH112


def real(path: Path) -> Path:
    """A path without links; unlike `Path.resolve`, of a link in a circle, too."""
    return Path(os.path.realpath(path))


def place(path: Path) -> Path:
    """The real folder of a file with its name there; links to one file have places of their own."""
    return real(path.parent) / path.name


def _found(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    closed: list[OSError] = []
    named = (f for f in _below(folder, closed.append) if f.suffix.lower() in suffixes)
    files = [f for f in named if os.path.isfile(f) or not os.path.exists(f)]  # noqa: PTH110, PTH113
    return sorted([*files, *(Path(error.filename) for error in closed)])


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
