"""Compares ways to frame a detected face with the crops of data sets.

Held-out faces of data sets are pasted into larger images: enlarged, rotated, with made-up
surroundings. The detector finds them there, and each way of framing crops them again. The better a
way is, the closer the network's accuracy comes to that on the data set's own crops. What enlarging
them has cost by then is seen where the data set's own frame is cut from the image::

    python -m scripts.framing DATA.zip ... --network model_store/gimefive/14
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import atan2
from pathlib import Path
from typing import Annotated, Protocol

import numpy as np
import torch
import typer
from numpy.typing import NDArray

from service.faces import FRAMING, CropFrame, FaceDetector, Framing, cut
from service.records import FACE_SIZE, Face, FaceImage, Picture
from training import origin
from training.augment import resize
from training.data import FaceSet, read, split
from training.network import GiMeFive, logits_of
from training.photographs import DETECTOR, TILT, detect_at, paste_into_photograph

Points = NDArray[np.float64]


class FramingMethod(Protocol):
    """A way to frame a face."""

    def frame(self, face: Face) -> CropFrame:
        """The square around a face."""
        ...


@dataclass(frozen=True)
class Aligned:
    """Framing by the similarity transform that best fits five landmarks to a template.

    Attributes:
        template: ``[5, 2]``, as shares of the crop's side.
    """

    template: Points

    def frame(self, face: Face) -> CropFrame:
        """The square around a face."""
        points = np.array(face.landmarks)
        template_centre, centre = self.template.mean(axis=0), points.mean(axis=0)
        # In complex numbers a similarity is one factor, and its least-squares fit one quotient.
        wanted = (self.template - template_centre) @ [1, 1j]
        turn = np.vdot(wanted, (points - centre) @ [1, 1j]) / np.vdot(wanted, wanted)
        middle = ((0.5 - template_centre) @ [1, 1j]) * turn
        angle = atan2(turn.imag, turn.real)
        return CropFrame(centre[0] + middle.real, centre[1] + middle.imag, abs(turn), angle)


@dataclass(frozen=True)
class DetectedImage:
    """A face detected in an image.

    Attributes:
        picture: ``[480, 640, 3]``.
        own: the frame of the data set's crop.
        face: the detection.
    """

    picture: Picture
    own: CropFrame
    face: Face

    def eyes(self, frame: CropFrame) -> Points:
        """The eyes ``[2, 2]`` as shares of a crop's side."""
        return in_crop(frame, self.face)[:2]


@dataclass(frozen=True)
class Trial:
    """The faces of one data set that were detected.

    Attributes:
        originals: as in the data set.
        scenes: the same faces in larger images.
    """

    originals: FaceSet
    scenes: list[DetectedImage]

    @classmethod
    def of(cls, faces: FaceSet, tilt: float, detector: FaceDetector) -> "Trial":
        """Paste faces into larger images and detect them."""
        rng = np.random.default_rng(0)
        detected = {}
        for i, face in enumerate(faces.faces):
            picture, own = paste_into_photograph(face, tilt, rng)
            detection = detect_at(detector, picture, own)
            if detection is not None:
                detected[i] = DetectedImage(picture, own, detection)
        typer.echo(f"{faces.name}: {len(detected) / len(faces):.1%} of {len(faces)} detected")
        return cls(faces.take(np.array(list(detected))), list(detected.values()))


@dataclass(frozen=True)
class Judge:
    """The network by whose accuracy crops are compared.

    Attributes:
        network: with trained weights.
        pixels: side of its input, which is less than 64 early in training.
    """

    network: GiMeFive
    pixels: int

    def accuracy(self, faces: Sequence[FaceImage], labels: NDArray[np.int64]) -> float:
        """The share of faces whose prediction is the label."""
        batch = resize(torch.from_numpy(np.stack(faces)), self.pixels)
        return float((logits_of(self.network, batch).argmax(dim=1).numpy() == labels).mean())


def in_crop(frame: CropFrame, face: Face) -> Points:
    """The landmarks ``[5, 2]`` of a face as shares of a crop's side."""
    matrix = frame.matrix()
    pixels = (np.array(face.landmarks) - 0.5 - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    return np.asarray((pixels + 0.5) / FACE_SIZE)


def row(name: str, trials: list[Trial], frames: list[list[CropFrame]], shares: list[float]) -> str:
    """A row: mean position of the eyes, their distance to the data set's crop, and accuracies."""
    pairs = [
        (s, f)
        for t, fs in zip(trials, frames, strict=True)
        for s, f in zip(t.scenes, fs, strict=True)
    ]
    eyes = np.array([scene.eyes(frame) for scene, frame in pairs])
    own = np.array([scene.eyes(scene.own) for scene, _ in pairs])
    off = FACE_SIZE * np.linalg.norm(eyes - own, axis=2).mean()
    places = " ".join(f"({x:.2f}, {y:.2f})" for x, y in eyes.mean(axis=0))
    cells = [f"{share:.1%}" for share in [*shares, float(np.mean(shares))]]
    return f"| {name} | {places} | {off:.1f} | {' | '.join(cells)} |"


def methods(trials: list[Trial]) -> dict[str, FramingMethod]:
    """The ways of framing to compare."""
    means = [np.mean([in_crop(s.own, s.face) for s in trial.scenes], axis=0) for trial in trials]
    chosen: dict[str, FramingMethod] = {
        "five landmarks, mean of the sets": Aligned(np.mean(means, axis=0))
    }
    for side, below in ((0.86, 0.057), (0.91, 0.03), (1.0, 0.0), (1.1, 0.0)):
        for level in (False, True):
            name = f"box, side {side}, {below} below{', level' * level}"
            chosen[name] = Framing(side, below, level)
    return chosen | {"the service's": FRAMING}


def main(
    data: Annotated[list[Path], typer.Argument(help="data sets, as for training")],
    network: Annotated[str, typer.Option(help="folder of a finished run, or of a version")],
    detector: Annotated[Path, typer.Option(help="the YuNet model")] = DETECTOR,
    pixels: Annotated[int, typer.Option(help="side of the network's input")] = FACE_SIZE,
    faces: Annotated[int, typer.Option(help="held-out faces per data set")] = 400,
    images: Annotated[int, typer.Option(help="images per face")] = 1,
    tilt: Annotated[float, typer.Option(help="largest rotation of a face, in degrees")] = TILT,
) -> None:
    """Print a table that compares the ways to frame a detected face."""
    judge = Judge(origin.gimefive(network), pixels)
    seed = origin.lineage(Path(network))[0][-1].seed
    trials = []
    for path in data:
        held_out = split(read(path), seed).held_out
        some = np.random.default_rng(0).permutation(len(held_out))[:faces]
        trials.append(Trial.of(held_out.take(np.tile(some, images)), tilt, FaceDetector(detector)))
    names = [trial.originals.name for trial in trials]
    typer.echo(f"\n| crop | eyes | off, px | {' | '.join(names)} | mean |")
    typer.echo("|---" * (4 + len(trials)) + "|")
    own = [[scene.own for scene in trial.scenes] for trial in trials]
    shares = [
        judge.accuracy(list(trial.originals.faces), trial.originals.labels) for trial in trials
    ]
    typer.echo(row("the data set's", trials, own, shares))
    framed = {"the data set's, from the image": own} | {
        name: [[method.frame(scene.face) for scene in trial.scenes] for trial in trials]
        for name, method in methods(trials).items()
    }
    for name, frames in framed.items():
        shares = []
        for trial, squares in zip(trials, frames, strict=True):
            crops = [cut(s.picture, f) for s, f in zip(trial.scenes, squares, strict=True)]
            shares.append(judge.accuracy(crops, trial.originals.labels))
        typer.echo(row(name, trials, frames, shares))


if __name__ == "__main__":
    typer.run(main)
