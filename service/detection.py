"""A picture decoded, and the faces found in it; safe to call from any thread."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import cv2.utils.logging
import numpy as np
from numpy.typing import NDArray

from service import imaging
from service.faces import FRAMING, FaceDetector, cut
from service.records import FACE_SIZE, Box, Face, FaceImage, FaceMode, Picture


@dataclass(frozen=True, slots=True)
class DetectedImage:
    """A decoded picture with its faces.

    Attributes:
        picture: upright RGB.
        faces: those in it, largest first.
        crop_to_image: for each face, the affine map ``[2, 3]`` from pixel centres of its 64x64 crop
            to those of the picture.
        crops: for each face, what the model reads.
        began: moment when decoding began, on the monotonic clock.
        decode: seconds that decoding took.
        detect: seconds that detection and cropping took.
    """

    picture: Picture
    faces: tuple[Face, ...]
    crop_to_image: tuple[NDArray[np.float64], ...]
    crops: tuple[FaceImage, ...]
    began: float
    decode: float
    detect: float


def configure_opencv() -> None:
    """Have OpenCV use one thread per call, as its callers use all cores, and log only errors."""
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def detect(
    detector: FaceDetector,
    decode: Callable[[], Picture],
    mode: FaceMode,
    clock: Callable[[], float],
) -> DetectedImage:
    """Decode a picture and find its faces, or take it as one whole face.

    Args:
        detector: finds the faces.
        decode: returns the upright picture.
        mode: find faces, or take the whole picture as one aligned face crop.
        clock: monotonic seconds.
    """
    began = clock()
    picture = decode()
    decoded = clock()
    if mode == "whole":
        return _whole(picture, began, decoded - began)
    faces = detector.detect(picture)
    frames = tuple(FRAMING.frame(face) for face in faces)
    crops = tuple(cut(picture, frame) for frame in frames)
    took = clock() - decoded
    crop_to_image = tuple(frame.matrix() for frame in frames)
    return DetectedImage(picture, faces, crop_to_image, crops, began, decoded - began, took)


def _whole(picture: Picture, began: float, decode: float) -> DetectedImage:
    height, width = picture.shape[:2]
    across, down = width / FACE_SIZE, height / FACE_SIZE
    crop_to_image = np.array([[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2]])
    face = Face(Box(0, 0, width, height))
    crops = (imaging.grey_face(picture),)
    return DetectedImage(picture, (face,), (crop_to_image,), crops, began, decode, 0.0)
