"""Faces as the service meets them: in a photograph, found by its detector, cut out as it cuts.

The data sets' crops stand in for photographs: each is set into a larger picture, its surroundings
made up.
"""

from functools import partial
from math import hypot, pi
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import torch
from torch import Tensor

from service.faces import CropFrame, FaceDetector, crop
from service.records import FACE_SIZE, Face, FaceImage, Picture
from training.feed import Data
from training.recipe import Recipe
from training.sharing import shared_out

DETECTOR = Path("model_store/yunet/1/model.onnx")
WIDTH, HEIGHT = 640, 480
TILT = 10.0
"""Most degrees by which a face is turned in its picture."""

MARGIN = 64
"""Pixels of made-up surroundings around a crop of 64."""


def photographed(data: Data, recipe: Recipe, file: Path) -> Data:
    """The data with as many faces out of photographs as a recipe wants.

    Args:
        data: what a run learns from.
        recipe: says how many.
        file: keeps the faces, for a run that goes on.
    """
    if not recipe.photographed:
        return data
    cut = shared_out(data.faces, partial(_cut_again, recipe.seed), file)
    return data.photographed(cut, recipe.photographed)


def set_into_picture(
    face: FaceImage, tilt: float, rng: np.random.Generator
) -> tuple[Picture, CropFrame]:
    """A picture ``[480, 640, 3]`` with a face crop in it, enlarged two to four times and turned.

    Args:
        face: the crop, uint8 ``[64, 64]``.
        tilt: most degrees by which it is turned.
        rng: draws place, size and turn.

    Returns:
        The picture, and where in it the crop lies.
    """
    border = np.pad(face, MARGIN, mode="edge")
    around = cv2.GaussianBlur(border, (0, 0), 8)
    around[MARGIN:-MARGIN, MARGIN:-MARGIN] = face
    own = CropFrame(
        x=WIDTH / 2 + rng.uniform(-40, 40),
        y=HEIGHT / 2 + rng.uniform(-40, 40),
        side=FACE_SIZE * rng.uniform(2, 4),
        angle=rng.uniform(-tilt, tilt) * pi / 180,
    )
    matrix = own.matrix()
    matrix[:, 2] -= matrix[:, :2] @ [MARGIN, MARGIN]
    grey = cv2.warpAffine(around, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8), own


def look_for(detector: FaceDetector, picture: Picture, own: CropFrame) -> Face | None:
    """The face that is found where the data set's crop lies, if any is."""
    for face in detector.detect(picture):
        x, y = face.box.x + face.box.width / 2, face.box.y + face.box.height / 2
        if hypot(x - own.x, y - own.y) < 0.4 * own.side:
            return face
    return None


def _cut_again(seed: int, faces: Tensor) -> Tensor:
    """Faces uint8 ``[N, 64, 64]``, each out of a picture of its own; as it was if not found."""
    detector = FaceDetector(DETECTOR)
    return torch.from_numpy(np.stack([_out(face, detector, seed) for face in faces.numpy()]))


def _out(face: FaceImage, detector: FaceDetector, seed: int) -> FaceImage:
    """The face out of its picture, which it and the seed alone decide: any processes make it."""
    rng = np.random.default_rng((seed, crc32(face.tobytes())))
    picture, own = set_into_picture(face, TILT, rng)
    found = look_for(detector, picture, own)
    return face if found is None else crop(picture, found)
