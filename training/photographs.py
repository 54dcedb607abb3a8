"""Faces as the service sees them: in a photograph, detected, and cropped as the service crops.

The photographs are synthetic: each face of a data set is pasted into a larger image with made-up
surroundings.
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
"""The largest rotation of a face in its photograph, in degrees."""

MARGIN = 64
"""Pixels of made-up surroundings on each side of a 64x64 face."""


def photographed(data: Data, recipe: Recipe, file: Path) -> Data:
    """The data with the recipe's share of faces cropped from photographs.

    Args:
        data: of the run.
        recipe: with the share and the seed.
        file: keeps the crops for a resumed run.
    """
    if not recipe.photographed:
        return data
    crops = shared_out(data.faces, partial(_crops, recipe.seed), file)
    return data.photographed(crops, recipe.photographed)


def paste_into_photograph(
    face: FaceImage, tilt: float, rng: np.random.Generator
) -> tuple[Picture, CropFrame]:
    """A photograph ``[480, 640, 3]`` with the face in it, enlarged two to four times and rotated.

    Args:
        face: uint8 ``[64, 64]``.
        tilt: the largest rotation in degrees.
        rng: draws position, size and rotation.

    Returns:
        The photograph, and the face's frame in it.
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


def detect_at(detector: FaceDetector, picture: Picture, own: CropFrame) -> Face | None:
    """The face that is detected at the frame `own`, if any."""
    for face in detector.detect(picture):
        x, y = face.box.x + face.box.width / 2, face.box.y + face.box.height / 2
        if hypot(x - own.x, y - own.y) < 0.4 * own.side:
            return face
    return None


def _crops(seed: int, faces: Tensor) -> Tensor:
    """Faces uint8 ``[N, 64, 64]``, each cropped from its photograph; unchanged if not detected."""
    detector = FaceDetector(DETECTOR)
    return torch.from_numpy(np.stack([_crop(face, detector, seed) for face in faces.numpy()]))


def _crop(face: FaceImage, detector: FaceDetector, seed: int) -> FaceImage:
    """The face cropped from its photograph, which depends on the face and the seed only."""
    rng = np.random.default_rng((seed, crc32(face.tobytes())))
    picture, own = paste_into_photograph(face, TILT, rng)
    found = detect_at(detector, picture, own)
    return face if found is None else crop(picture, found)
