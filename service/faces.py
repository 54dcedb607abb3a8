"""Faces: where they are in a picture, and the 64x64 crops that the network reads.

The detector is YuNet (Wu, Peng and Yu, 2023), run by OpenCV. It knows faces of about 16 to 400
pixels, so a picture is scanned at a size that suits its faces, and what looks small or doubtful
there is examined again at full resolution. docs/adr/0003-face-crop.md has the numbers.
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
"""A detection ``[15]`` as YuNet gives it: x, y, width, height, five points, score."""

Rows = NDArray[np.float64]
"""Detections ``[N, 15]``."""

# The scan.
_SCAN_PIXELS = 160_000  # a larger picture is shrunk to this,
_SCAN_SCALE = 0.45  # though not below this part of its size, for the sake of small faces,
_MOST_PIXELS = 2_500_000  # unless this would be exceeded;
_LEAST_SIDE = 224  # a smaller picture is enlarged to this length.
_LARGEST_FACE = 640  # Where faces of more pixels are possible, a scan
_OVERVIEW_SIDE = 256  # of this length finds them.
_STRIP = 16  # No side counts as shorter than this part of the other: thin strips are padded.

# The closer look.
_CANDIDATE = 0.15  # Scores below this are not worth a look.
_LOOK_SIDE = 192  # It has this many pixels,
_LOOK_WIDTH = 2.5  # and shows this many times the face.
_LOOK_GROWTH = 1.5  # A face that turns out larger than by this is cut off there: it has its own.

_MOST_SAMPLES = 8  # Samples a crop takes for one of its pixels, in each direction.

_SCORE = 14
_XS, _YS = [0, *range(4, 14, 2)], [1, *range(5, 14, 2)]


@dataclass(frozen=True, slots=True)
class CropFrame:
    """A square in the picture, perhaps turned, whose content is a crop.

    Attributes:
        x: of its centre, in pixels, the picture's top left corner being (0, 0).
        y: likewise.
        side: its length, in pixels.
        angle: how far it is turned clockwise, in radians.
    """

    x: float
    y: float
    side: float
    angle: float = 0.0

    def matrix(self, size: int = FACE_SIZE) -> NDArray[np.float64]:
        """The affine map ``[2, 3]`` from pixels of a crop of `size` to those of the picture.

        Both count from the centre of their first pixel, as OpenCV does.
        """
        scale = self.side / size
        across, down = scale * cos(self.angle), scale * sin(self.angle)
        turn = np.array([[across, -down], [down, across]])
        centre = np.array([self.x - 0.5, self.y - 0.5])
        return np.column_stack([turn, centre - turn @ np.full(2, (size - 1) / 2)])


@dataclass(frozen=True, slots=True)
class Framing:
    """How a face lies in its crop.

    Attributes:
        side: length of the crop's side, as a part of the box's height.
        below: how far the crop's centre lies below the box's, as a part of the side.
        level: whether the crop turns with the head.
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


FRAMING = Framing(side=1.0, below=0.0, level=True)
"""What the network reads best, over the training crops' ways of framing."""


def crop(picture: Picture, face: Face) -> FaceImage:
    """The face as the network reads it, uint8 ``[64, 64]``; beyond the edge, the edge repeats."""
    return cut(picture, FRAMING.frame(face))


def cut(picture: Picture, frame: CropFrame) -> FaceImage:
    """What a frame holds, uint8 ``[64, 64]``: sampled finely, then reduced as the paper does."""
    return grey_face(_sample(picture, frame, FACE_SIZE, cv2.BORDER_REPLICATE))


class FaceDetector:
    """Finds faces; threads may share it.

    Each thread gets a network of its own, since two in one network disturb each other. OpenCV
    spreads each pass over all cores; where several threads detect at once that costs more than it
    gives, and ``cv2.setNumThreads(1)`` at the start of the process ends it.

    Args:
        model: YuNet as ONNX, or where it lies.
        threshold: least score of a face, 0 to 1.
        max_faces: most faces that are looked for; the surest are found.

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
        """The faces of an upright RGB picture, the largest first; a box may reach over the edge."""
        height, width = picture.shape[:2]
        scales = _scales(width, height)
        scans = [self._scan(picture, scale) for scale in scales]
        candidates = _distinct(np.concatenate(scans), np.maximum)[: self._max_faces]
        looks = [row for candidate in candidates for row in self._look(picture, candidate)]
        faces = _distinct(np.reshape(looks, (-1, _SCORE + 1)), np.minimum)
        return tuple(sorted(map(_face, faces), key=lambda face: face.box.area, reverse=True))

    def _scan(self, picture: Picture, scale: float) -> Rows:
        """What in the picture might be a face, the surest first."""
        height, width = picture.shape[:2]
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        rows = self._run(picture if scale == 1 else cv2.resize(picture, size, interpolation=way))
        rows[:, :_SCORE] /= scale
        return rows[: self._max_faces]

    def _look(self, picture: Picture, candidate: Row) -> list[Row]:
        """The face as a closer look shows it; as it was seen before if that shows none; or none."""
        x, y, width, height = candidate[:4]
        frame = CropFrame(x + width / 2, y + height / 2, _LOOK_WIDTH * max(width, height))
        samples = _sample(picture, frame, _LOOK_SIDE, cv2.BORDER_CONSTANT)
        size = (_LOOK_SIDE, _LOOK_SIDE)
        rows = self._run(cv2.resize(samples, size, interpolation=cv2.INTER_AREA))
        off_centre = np.abs(rows[:, :2] + rows[:, 2:4] / 2 - _LOOK_SIDE / 2).max(axis=1)
        larger = rows[:, 2:4].max(axis=1) / (_LOOK_SIDE / _LOOK_WIDTH)
        rows = rows[(off_centre < _LOOK_SIDE / _LOOK_WIDTH / 2) & (larger < _LOOK_GROWTH)]
        rows[:, :_SCORE] *= frame.side / _LOOK_SIDE
        rows[:, _XS] += frame.x - frame.side / 2
        rows[:, _YS] += frame.y - frame.side / 2
        return [row for row in (*rows[:1], candidate) if row[_SCORE] >= self._threshold][:1]

    def _run(self, pixels: MatLike) -> Rows:
        """What the network sees, the surest first, in the pixels it was given."""
        network = self._network()
        network.setInputSize((pixels.shape[1], pixels.shape[0]))
        _, found = network.detect(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        if found is None:
            return np.empty((0, _SCORE + 1))
        return np.asarray(found, dtype=np.float64)

    def _network(self) -> cv2.FaceDetectorYN:
        """The calling thread's own."""
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
    """The scales at which a picture is scanned, the finest first."""
    longest = max(width, height)
    pixels = max(width * height, longest**2 / _STRIP)
    scale = min(max(sqrt(_SCAN_PIXELS / pixels), _SCAN_SCALE), sqrt(_MOST_PIXELS / pixels), 1)
    scale = max(scale, _LEAST_SIDE / longest)
    if min(width, height) * scale <= _LARGEST_FACE:
        return (scale,)
    return (scale, _OVERVIEW_SIDE / longest)


def _distinct(rows: Rows, reference: np.ufunc) -> Rows:
    """The surest row of each face, the surest face first.

    Two rows are one face if they have half of a box in common: of the larger box (`reference` is
    `np.maximum`), so that a face and a part of it are two, or of the smaller (`np.minimum`).
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
    """How far a head is turned clockwise, in radians, told from its landmarks.

    YuNet puts the eyes of a tilted head almost level; the line from the eyes to the mouth shows
    about half of the tilt.
    """
    right_eye, left_eye, _, right_mouth, left_mouth = np.asarray(points)
    x, y = right_mouth + left_mouth - right_eye - left_eye
    return atan2(-x, y)


def _face(row: Row) -> Face:
    x, y, width, height, *points, score = row.tolist()
    return Face(Box(x, y, width, height), tuple(zip(points[::2], points[1::2], strict=True)), score)


def _sample(picture: Picture, frame: CropFrame, size: int, border: int) -> Picture:
    """A frame's content at `size` pixels a side or, where it is larger, a multiple of that."""
    samples = size * min(max(ceil(frame.side / size), 1), _MOST_SAMPLES)
    centre, limit = np.array([frame.x, frame.y]), np.array(picture.shape[1::-1])
    reach = frame.side / 2 * (abs(cos(frame.angle)) + abs(sin(frame.angle))) + 1
    low = np.floor(centre - reach).clip(0, limit - 1).astype(int)
    high = np.ceil(centre + reach).clip(low + 1, limit).astype(int)
    matrix = frame.matrix(samples)
    matrix[:, 2] -= low
    return np.asarray(
        cv2.warpAffine(
            picture[low[1] : high[1], low[0] : high[0]],
            matrix,
            (samples, samples),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=border,
        ),
        dtype=np.uint8,
    )
