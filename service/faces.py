"""Face detection, and the 64x64 crops that are the network's input.

The detector is YuNet (Wu, Peng and Yu, 2023), run by OpenCV. It recognises faces of about 16 to 400
pixels, so a picture is scanned at a suitable scale, and each candidate is examined again at a
higher resolution. docs/adr/0003-face-crop.md has the numbers.
"""

import threading
from dataclasses import dataclass
from math import atan2, ceil, cos, sin, sqrt
from pathlib import Path

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import ArrayLike, NDArray

from service.errors import StoreError
from service.imaging import grey_face
from service.records import FACE_SIZE, Box, Face, FaceImage, Picture

Row = NDArray[np.float64]
"""A detection ``[15]`` as returned by YuNet: x, y, width, height, five points, score."""

Rows = NDArray[np.float64]
"""Detections ``[N, 15]``."""

# The scan.
_SCAN_PIXELS = 160_000  # A larger picture is reduced to this many pixels,
_SCAN_SCALE = 0.45  # but not below this scale, so that small faces are found,
_MOST_PIXELS = 2_500_000  # unless that would exceed this many pixels.
_LEAST_SIDE = 224  # A smaller picture is enlarged to this longer side.
_LARGEST_FACE = 640  # If the scan may contain larger faces, a second scan
_OVERVIEW_SIDE = 256  # with this longer side finds them.
_STRIP = 16  # Largest aspect ratio assumed for the scan: thinner strips are padded.

# The closer look.
_CANDIDATE = 0.15  # Lowest score of a candidate.
_LOOK_SIDE = 192  # Side in pixels,
_LOOK_WIDTH = 2.5  # and relative to the candidate.
_LOOK_GROWTH = 1.5  # A face larger than this, relative to the candidate, has its own look.

_MOST_SAMPLES = 8  # Most samples per pixel of a crop, in each direction.

_SCORE = 14
_XS, _YS = [0, *range(4, 14, 2)], [1, *range(5, 14, 2)]


@dataclass(frozen=True, slots=True)
class CropFrame:
    """A square in the picture, possibly rotated, whose content is a crop.

    Attributes:
        x: of its centre, in pixels; the picture's top left corner is (0, 0).
        y: likewise.
        side: its length, in pixels.
        angle: its clockwise rotation, in radians.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def matrix(self, size: int = FACE_SIZE) -> NDArray[np.float64]:
        """The affine map ``[2, 3]`` from pixels of a crop of `size` to those of the picture.

        In both, the centre of the first pixel is (0, 0), as in OpenCV.
        """
        scale = self.side / size
        across, down = scale * cos(self.angle), scale * sin(self.angle)
        turn = np.array([[across, -down], [down, across]])
        centre = np.array([self.x - 0.5, self.y - 0.5])
        return np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])


@dataclass(frozen=True, slots=True)
class Framing:
    """The position and size of a face in its crop.

    Attributes:
        side: side of the crop, relative to the height of the face's box.
        below: distance of the crop's centre below that of the box, relative to `side`.
        level: whether the crop is rotated with the head.
    """

    side: float
    below: float
    level: bool

    def frame(self, face: Face) -> CropFrame:
        """The square around a face."""
        angle = _tilt(face.landmarks) if self.level and face.landmarks is not None else 0.0
        side = self.side * face.box.height
        down = self.below * side
        x = face.box.x + face.box.width / 2 - down * sin(angle)
        y = face.box.y + face.box.height / 2 + down * cos(angle)
        return CropFrame(x, y, side, angle)


FRAMING = Framing(side=0.97, below=0.0, level=True)
"""The framing chosen by measurement: see docs/adr/0003-face-crop.md."""


def crop(picture: Picture, face: Face) -> FaceImage:
    """The network's input, uint8 ``[64, 64]``; pixels outside the picture repeat its edge."""
    return cut(picture, FRAMING.frame(face))


def cut(picture: Picture, frame: CropFrame) -> FaceImage:
    """The content of a frame, uint8 ``[64, 64]``, grey; each pixel averages what it covers."""
    return grey_face(_sample(picture, frame, FACE_SIZE, cv2.BORDER_REPLICATE))


class FaceDetector:
    """Detects faces; threads may share it.

    Each thread gets its own network, since a network cannot serve two threads at once. OpenCV
    spreads each pass over all cores; if several threads detect at once that costs more than it
    gains, and ``cv2.setNumThreads(1)`` at the start of the process prevents it.

    Args:
        model: YuNet as ONNX, or the path of the file.
        threshold: lowest score of a face, 0 to 1.
        max_faces: limit on the number of faces; those with the highest scores are kept.

    Raises:
        StoreError: OpenCV cannot read the model.
    """

    def __init__(
        self, model: bytes | Path, *, threshold: float = 0.7, max_faces: int = 100
    ) -> None:
        data = model if isinstance(model, bytes) else model.read_bytes()
        self._model = np.frombuffer(data, np.uint8)
        self._threshold = threshold
        self._max_faces = max_faces
        self._threads = threading.local()
        try:
            self._network()
        except cv2.error as error:
            raise StoreError("OpenCV cannot read the face detector's model") from error

    def detect(self, picture: Picture) -> tuple[Face, ...]:
        """The faces of an upright RGB picture, largest first; boxes may extend beyond it."""
        height, width = picture.shape[:2]
        scales = _scales(width, height)
        scans = [self._scan(picture, scale) for scale in scales]
        candidates = _distinct(np.concatenate(scans), np.maximum)[: self._max_faces]
        looks = [row for candidate in candidates for row in self._look(picture, candidate)]
        faces = _distinct(np.reshape(looks, (-1, _SCORE + 1)), np.minimum)
        return tuple(sorted(map(_face, faces), key=lambda face: face.box.area, reverse=True))

    def _scan(self, picture: Picture, scale: float) -> Rows:
        """Candidates in the whole picture, highest score first."""
        height, width = picture.shape[:2]
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        rows = self._run(picture if scale == 1 else cv2.resize(picture, size, interpolation=way))
        rows[:, :_SCORE] /= scale
        return rows[: self._max_faces]

    def _look(self, picture: Picture, candidate: Row) -> list[Row]:
        """The face detected by a closer look, else the candidate; empty if its score is too low."""
        x, y, width, height = candidate[:4]
        frame = CropFrame(x + width / 2, y + height / 2, _LOOK_WIDTH * max(width, height))
        rows = self._run(_sample(picture, frame, _LOOK_SIDE, cv2.BORDER_CONSTANT))
        off_centre = np.abs(rows[:, :2] + rows[:, 2:4] / 2 - _LOOK_SIDE / 2).max(axis=1)
        larger = rows[:, 2:4].max(axis=1) / (_LOOK_SIDE / _LOOK_WIDTH)
        rows = rows[(off_centre < _LOOK_SIDE / _LOOK_WIDTH / 2) & (larger < _LOOK_GROWTH)]
        rows[:, :_SCORE] *= frame.side / _LOOK_SIDE
        rows[:, _XS] += frame.x - frame.side / 2
        rows[:, _YS] += frame.y - frame.side / 2
        return [row for row in (*rows[:1], candidate) if row[_SCORE] >= self._threshold][:1]

    def _run(self, pixels: MatLike) -> Rows:
        """The network's detections, highest score first, in pixels of its input."""
        network = self._network()
        network.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, found = network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        if found is None:
            return np.empty((0, _SCORE + 1))
        return np.asarray(found, dtype=np.float64)

    def _network(self) -> cv2.FaceDetectorYN:
        """The network of the calling thread."""
        network: cv2.FaceDetectorYN | None = getattr(self._threads, "network", None)
        if network is None:
            network = cv2.FaceDetectorYN.create(
                "onnx",
                self._model,
                np.empty(0, np.uint8),
                (0, 0),
                min(_CANDIDATE, self._threshold),
            )
            self._threads.network = network
        return network


def _scales(width: int, height: int) -> tuple[float, ...]:
    """The scales at which a picture is scanned, largest first."""
    longest = max(width, height)
    pixels = max(width * height, longest**2 / _STRIP)
    scale = min(max(sqrt(_SCAN_PIXELS / pixels), _SCAN_SCALE), sqrt(_MOST_PIXELS / pixels), 1)
    scale = max(scale, _LEAST_SIDE / longest)
    if min(width, height) * scale <= _LARGEST_FACE:
        return (scale,)
    return (scale, _OVERVIEW_SIDE / longest)


def _distinct(rows: Rows, reference: np.ufunc) -> Rows:
    """The row with the highest score for each face, highest score first.

    Two rows are the same face if they overlap by more than half of a box: of the larger box
    (`reference` is `np.maximum`), so that a face and a part of it are distinct, or of the smaller
    (`np.minimum`).
    """
    rows = rows[np.argsort(-rows[:, _SCORE], kind="stable")]
    low, size = rows[:, :2], rows[:, 2:4]
    high, area = low + size, size.prod(axis=1)
    kept: list[int] = []
    for i in range(len(rows)):
        common = (np.minimum(high[i], high[kept]) - np.maximum(low[i], low[kept])).clip(0)
        if not (common.prod(axis=1) > reference(area[i], area[kept]) / 2).any():
            kept.append(i)
    return rows[kept]


def _tilt(points: ArrayLike) -> float:
    """The clockwise rotation of a head, in radians, estimated from its landmarks.

    YuNet places the eyes of a tilted head almost level; the line from the eyes to the mouth has
    about half of the tilt.
    """
    right_eye, left_eye, _, right_mouth, left_mouth = np.asarray(points)
    x, y = right_mouth + left_mouth - right_eye - left_eye
    return atan2(-x, y)


def _face(row: Row) -> Face:
    x, y, width, height, *points, score = row.tolist()
    return Face(Box(x, y, width, height), tuple(zip(points[::2], points[1::2], strict=True)), score)


def _sample(picture: Picture, frame: CropFrame, size: int, border: int) -> Picture:
    """The content of a frame, `size` pixels wide.

    If the frame is larger, a pixel is the mean of several samples.
    """
    samples = size * min(max(ceil(frame.side / size), 1), _MOST_SAMPLES)
    centre, limit = np.array([frame.x, frame.y]), np.array(picture.shape[1::-1])
    reach = frame.side / 2 * (abs(cos(frame.angle)) + abs(sin(frame.angle))) + 1
    low = np.floor(centre - reach).clip(0, limit - 1).astype(int)
    high = np.ceil(centre + reach).clip(low + 1, limit).astype(int)
    matrix = frame.matrix(samples)
    matrix[:, 2] -= low
    sampled = cv2.warpAffine(
        picture[low[1] : high[1], low[0] : high[0]],
        matrix,
        (samples, samples),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=border,
    )
    return np.asarray(cv2.resize(sampled, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
