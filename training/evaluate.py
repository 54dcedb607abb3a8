"""Evaluating a file of the store on any data set."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch

from service.calibration import Calibration
from training.artefact import load, score, verify
from training.card import Card, Precision, calibration, read
from training.data import FaceSet, split
from training.errors import ExportError
from training.pictures import draw_report
from training.report import Report, Scored, measure


class Part(StrEnum):
    """The part of a data set to use."""

    all = "all"
    train = "train"
    validation = "validation"
    held_out = "held_out"


@dataclass(frozen=True)
class Artefact:
    """A loaded file of the store, with its card.

    Attributes:
        module: maps faces uint8 ``[N, 64, 64]`` to logits float32 ``[N, 6]``.
        entry: the card's entry for the file.
        card: the whole card.
    """

    module: torch.jit.ScriptModule
    entry: Precision
    card: Card

    @classmethod
    def open(cls, path: Path) -> "Artefact":
        """Load a file with the card next to it.

        Raises:
            ExportError: there is no card, it does not name the file, or the file was altered.
        """
        card = read(path.parent)
        for entry in card["precisions"].values():
            if entry["file"] == path.name:
                verify(path, entry["sha256"])
                return cls(load(path, entry.get("engine")), entry, card)
        raise ExportError(f"{path.parent / 'card.json'} does not name {path.name}")

    @property
    def calibration(self) -> Calibration:
        """From the file's logits to scores."""
        return calibration(self.entry)

    def choose(self, faces: FaceSet, part: Part) -> FaceSet:
        """All faces, or the given part as the file's run split them.

        Raises:
            ExportError: the data set is not the run's, so the part may contain training faces.
        """
        if part is Part.all:
            return faces
        parts = split(faces, self.card["recipes"][-1]["seed"])
        if parts.digests() not in [source.get("sha256") for source in self.card["data"]]:
            version = self.card["version"]
            raise ExportError(
                f"{faces.name} is not a data set of version {version}, according to its card, so "
                f"its part {part} may contain training faces: give the original data set, or "
                "evaluate all of it"
            )
        chosen: FaceSet = getattr(parts, part)
        return chosen

    def score(self, faces: FaceSet) -> Scored:
        """The logits for a data set."""
        return score(self.module, faces, self.card.get("evened", {}).get(faces.name, 0.0))

    def measure(self, faces: FaceSet) -> Report:
        """The results on a data set, with the file's calibration."""
        scored = self.score(faces)
        return measure(scored, self.calibration.scores(scored.logits))


def line(name: str, report: Report) -> str:
    """A report on one line."""
    accuracy, nll, ece = report["accuracy"], report["nll"], report["ece"]
    return (
        f"{name}: {report['images']:,} faces, accuracy {accuracy['value']:.1%} "
        f"({accuracy['low']:.1%} to {accuracy['high']:.1%}), "
        f"macro recall {report['macro_recall']:.1%}, "
        f"NLL {nll['after']:.3f} (raw {nll['before']:.3f}), "
        f"ECE {ece['after']:.3f} (raw {ece['before']:.3f})"
    )


def write(name: str, report: Report, out: Path) -> None:
    """Write ``NAME.json`` and ``NAME.png`` into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1))
    draw_report(name, report, out / f"{name}.png")
