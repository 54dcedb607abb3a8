"""Noise faces, data sets in every layout, sampled scores, a network and a run of random weights."""

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from service.calibration import Calibration
from training.data import FaceSet, split
from training.feed import Data
from training.network import EMOTIONS, GiMeFive
from training.recipe import Recipe
from training.report import Scored

HISTORY = [
    {
        "images": 100 * (i + 1),
        "pixels": 32 if i < 3 else 64,
        "learning_rate": 0.001,
        "train_loss": 1.75 - i / 8,
        "validation_loss": 1.5 - i / 8,
        "validation_accuracy": 0.25 + i / 8,
    }
    for i in range(5)
]


def random_network() -> GiMeFive:
    """A fixed random network with non-trivial norm statistics and well separated logits."""
    torch.manual_seed(0)
    network = GiMeFive().eval()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm2d)):
        nn.init.uniform_(norm.weight, 0.5, 2)
        norm.load_state_dict(
            norm.state_dict()
            | {
                "running_mean": 0.1 * torch.randn(norm.num_features),
                "running_var": 0.5 + torch.rand(norm.num_features),
            }
        )
    with torch.no_grad():
        network.fc3.weight *= 50
    return network


def noise_faces(name: str, each: int, seed: int = 0) -> FaceSet:
    """`each` faces of every emotion: coarse noise around a grey that depends on the emotion."""
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(len(EMOTIONS)), each)
    coarse = rng.integers(-40, 40, (len(labels), 8, 8)) + 60 + 25 * labels[:, None, None]
    faces = np.kron(coarse, np.ones((8, 8), dtype=int)).clip(0, 255).astype(np.uint8)
    return FaceSet(name, faces, labels, tuple(f"{i}.png" for i in range(len(labels))))


def encode_image(face: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], kind: str = "PNG") -> bytes:
    """A grey or RGB array as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, kind)
    return buffer.getvalue()


def labels_csv(faces: FaceSet, *, header: bool) -> str:
    """The text of a labels file."""
    text = io.StringIO()
    writer = csv.writer(text)
    if header:
        writer.writerow(["filename", "label"])
    writer.writerows(zip(faces.files, faces.labels.tolist(), strict=True))
    return text.getvalue()


def write_folder(faces: FaceSet, parent: Path) -> Path:
    """``NAME/labels.csv`` and ``NAME/images/``."""
    folder = parent / faces.name
    (folder / "images").mkdir(parents=True)
    (folder / "labels.csv").write_text(labels_csv(faces, header=True))
    for file, face in zip(faces.files, faces.faces, strict=True):
        (folder / "images" / file).write_bytes(encode_image(face))
    return folder


def write_zip(faces: FaceSet, parent: Path) -> Path:
    """``NAME.zip`` with the contents of that folder."""
    path = parent / f"{faces.name}.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.csv", labels_csv(faces, header=True))
        for file, face in zip(faces.files, faces.faces, strict=True):
            archive.writestr(f"images/{file}", encode_image(face))
    return path


def write_paper_layout(faces: FaceSet, parent: Path) -> Path:
    """``train_NAME_labels.csv`` without a header, and ``train/``: the layout of the paper."""
    (parent / "train").mkdir()
    for file, face in zip(faces.files, faces.faces, strict=True):
        (parent / "train" / file).write_bytes(encode_image(face))
    path = parent / f"train_{faces.name}_labels.csv"
    path.write_text(labels_csv(faces, header=False))
    return path


def sampled_scores(temperature: float, faces: int, seed: int, *, exponent: float = 0.0) -> Scored:
    """Logits with labels sampled from their scores with this calibration."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(faces, 6))
    cumulative = Calibration(temperature, exponent).scores(logits).cumsum(axis=1)
    labels = (rng.random((faces, 1)) > cumulative[:, :-1]).sum(axis=1)
    return Scored(logits, labels)


def write_run(folder: Path, sets: Sequence[FaceSet], recipe: Recipe) -> None:
    """A finished run with the random network, trained on its part of `sets`."""
    folder.mkdir()
    torch.save(random_network().state_dict(), folder / "weights.pt")
    (folder / "recipe.json").write_text(recipe.to_json())
    (folder / "history.json").write_text(json.dumps(HISTORY))
    data = Data.of_splits([split(faces, recipe.seed) for faces in sets], recipe.turns)
    (folder / "data.json").write_text(json.dumps(data.digests))
