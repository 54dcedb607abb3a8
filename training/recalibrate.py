"""From a version to one with the same files, calibrated and measured anew."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from training.artefact import verify
from training.assessment import assess
from training.card import Card, commit, read, write
from training.data import read as read_faces
from training.data import split
from training.describe import describe
from training.errors import ExportError
from training.saving import check_new, new_folder


def recalibrate(
    folder: Path,
    data: Sequence[Path],
    unseen: Sequence[Path],
    version: int,
    say: Callable[[str], None],
) -> None:
    """Write a version next to another, completely or not at all; `say` reports progress.

    Args:
        folder: of the version whose files are kept.
        data: the data sets it was trained on.
        unseen: those it was not trained on.
        version: the number of the new version.
        say: reports progress.

    Raises:
        DataError: a data set cannot be read.
        ExportError: there is no such version, the new one exists, a file was altered, or the data
            sets are not those of the card.
    """
    destination = folder.parent / str(version)
    check_new(destination)
    say("reading the data sets")
    card = read(folder)
    splits = [split(read_faces(path), card["recipes"][-1]["seed"]) for path in data]
    others = [read_faces(path) for path in unseen]
    given = [s.digests() for s in splits] + [{"unseen": faces.digest()} for faces in others]
    if given != [source.get("sha256") for source in card["data"]]:
        raise ExportError(f"these are not the data sets of {folder}: give {_files(card)}")
    with new_folder(destination) as draft:
        for file in card["precisions"].values():
            verify(folder / file["file"], file["sha256"])
            shutil.copy(folder / file["file"], draft)
        measured = assess(draft, card["precisions"], splits, others, card.get("evened", {}), say)
        command = f"python -m training recalibrate {folder} {_files(card)} --version {version}"
        recalibrated: Card = {
            **card,
            **measured,
            "version": str(version),
            "command": command,
            "commit": commit(),
        }
        write(recalibrated, draft)
        describe(draft)
    say(f"{destination}: calibrated anew")


def _files(card: Card) -> str:
    """The card's data sets as arguments, trained on and unseen."""
    return " ".join(
        f"--unseen {source['file']}" if "unseen" in source["parts"] else source["file"]
        for source in card["data"]
    )
