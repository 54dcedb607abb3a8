"""Image corruptions under which the robustness of a version is measured."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from training.data import Faces, FaceSet
from training.network import INPUT_SIZE

OFF = 4
"""Pixels by which a crop is shifted, in x and in y."""

TILT = 20
"""Degrees by which a head is tilted, to either side."""

AS_THEY_ARE = "as they are"
QUALITY = 30
SMALL = 24
"""Side in pixels of a face that was small in its image."""

SIGMA = 1.5
LIGHT = 0.3

Change = Callable[[Faces, int], Faces]
"""Changes a face ``[64, 64]``; the face's index in the set replaces randomness."""


def _side(number: int) -> int:
    return 1 if number % 2 else -1


def _moved(face: Faces, angle: float, across: float, down: float) -> Faces:
    centre = (INPUT_SIZE - 1) / 2
    motion = cv2.getRotationMatrix2D((centre, centre), angle, 1)
    motion[:, 2] += np.array([across, down])
    moved = cv2.warpAffine(face, motion, (INPUT_SIZE, INPUT_SIZE), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(moved, dtype=np.uint8)


def _off(face: Faces, number: int) -> Faces:
    return _moved(face, 0, OFF * _side(number), OFF * _side(number // 2))


def _tilted(face: Faces, number: int) -> Faces:
    return _moved(face, TILT * _side(number), 0, 0)


def _compressed(face: Faces, _: int) -> Faces:
    _written, file = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def _blurred(face: Faces, _: int) -> Faces:
    return np.asarray(cv2.GaussianBlur(face, (0, 0), SIGMA), dtype=np.uint8)


def _dark(face: Faces, _: int) -> Faces:
    return np.asarray(np.rint(face * LIGHT), dtype=np.uint8)


def _enlarged(face: Faces, _: int) -> Faces:
    small = cv2.resize(face, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (INPUT_SIZE, INPUT_SIZE), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.uint8)


CONDITIONS: dict[str, Change] = {
    AS_THEY_ARE: lambda face, _: face,
    f"{OFF} px off in x and y": _off,
    f"tilted by {TILT} degrees": _tilted,
    f"JPEG at quality {QUALITY}": _compressed,
    f"blurred, sigma {SIGMA} px": _blurred,
    f"at {LIGHT:.0%} of the light": _dark,
    f"enlarged from {SMALL} px": _enlarged,
}


def under(condition: str, faces: FaceSet) -> FaceSet:
    """The same faces under one of `CONDITIONS`, deterministically."""
    change = CONDITIONS[condition]
    changed = [change(face, number) for number, face in enumerate(faces.faces)]
    return replace(faces, faces=np.stack(changed))
