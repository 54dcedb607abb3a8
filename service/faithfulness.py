"""Whether a map shows the pixels that a score depends on, measured by removing pixels.

Deletion and insertion after Petsiuk et al., 2018 (RISE, arXiv 1806.07421); ROAD, remove and
debias, after Rong et al., 2022 (arXiv 2202.00449). This module makes the perturbed faces for a map,
and computes the measures from their scores. Random numbers have a fixed seed, so that a map always
gets the same result.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from service.drawing.heat import upsample
from service.explanation import Faithfulness, HeatMap
from service.records import FACE_SIZE, FaceImage

PIXELS = FACE_SIZE * FACE_SIZE
STEPS = 32
"""Steps of deletion and of insertion; each changes 128 pixels, a 32nd of the face."""

MEAN_GREY = 115
"""Grey level of a deleted pixel: the network's normalisation maps it to 0, as in RISE."""

BLUR = 6.0
"""Standard deviation, in pixels, of the blur with which insertion starts."""

REMOVED = np.arange(1, 10) / 10
"""The shares of the face that ROAD removes."""

ENDS = np.cumsum([STEPS + 1, STEPS + 1, len(REMOVED)])
"""Where one kind of perturbed faces ends and the next begins."""

NOISE = 2.55
"""Standard deviation of the noise on imputed pixels, in grey levels: 1 % of their range."""

NEIGHBOURS = np.array([[1, 2, 1], [2, 0, 2], [1, 2, 1]]) / 12
"""Weights of the neighbours of an imputed pixel (Rong et al., 2022)."""

TINY = float(np.finfo(np.float64).tiny)
"""Avoids division by zero once a picture is solved."""


def perturbed(face: FaceImage, heat: HeatMap) -> NDArray[np.uint8]:
    """The perturbed faces whose scores tell how faithful a map is to the network.

    Args:
        face: grey, uint8 ``[64, 64]``.
        heat: its map, of any size, not empty.

    Returns:
        Grey faces ``[84, 64, 64]``, in the order that `faithfulness` expects.
    """
    order = ranking(heat)
    return np.concatenate(
        (
            _deletions(face, order),
            _insertions(face, order),
            _removals(face, order),
            _removals(face, order[::-1]),
        )
    )


def faithfulness(scores: NDArray[np.floating]) -> Faithfulness:
    """The measures, from the probability of the emotion on each perturbed face, ``[84]``."""
    deletion, insertion, most, least = np.split(scores, ENDS)
    return Faithfulness(
        deletion=float(np.trapezoid(deletion, dx=1 / STEPS)),
        insertion=float(np.trapezoid(insertion, dx=1 / STEPS)),
        road_morf=float(most.mean()),
        road_lerf=float(least.mean()),
    )


def ranking(heat: HeatMap) -> NDArray[np.intp]:
    """The face's pixels ``[4096]``, most relevant first; ties in a fixed random order."""
    relevance = upsample(heat, FACE_SIZE).ravel()
    shuffled = np.random.default_rng(0).permutation(PIXELS)
    return shuffled[np.argsort(-relevance[shuffled], kind="stable")]


def _deletions(face: FaceImage, order: NDArray[np.intp]) -> NDArray[np.uint8]:
    """From the full face to plain grey, ``[STEPS + 1, 64, 64]``."""
    plain = np.full_like(face, MEAN_GREY)
    return np.where(_first(order, np.arange(STEPS + 1) / STEPS), plain, face)


def _insertions(face: FaceImage, order: NDArray[np.intp]) -> NDArray[np.uint8]:
    """From the blurred face to the sharp one, ``[STEPS + 1, 64, 64]``."""
    blurred = np.empty_like(face)
    cv2.GaussianBlur(face, (0, 0), BLUR, dst=blurred, borderType=cv2.BORDER_REPLICATE)
    return np.where(_first(order, np.arange(STEPS + 1) / STEPS), face, blurred)


def _removals(face: FaceImage, order: NDArray[np.intp]) -> NDArray[np.uint8]:
    """The face with more and more pixels imputed from the others, ``[9, 64, 64]``."""
    missing = _first(order, REMOVED)
    noise = np.random.default_rng(0).normal(0, NOISE, missing.shape)
    imputed = impute(face, missing) + noise * missing
    return np.asarray(np.rint(imputed.clip(0, 255)), dtype=np.uint8)


def _first(order: NDArray[np.intp], shares: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Masks of the pixels that come first in the ranking, one for each share, ``[K, 64, 64]``."""
    place = np.empty(PIXELS)
    place[order] = np.arange(PIXELS)
    return (place < np.rint(shares * PIXELS)[:, None]).reshape(-1, FACE_SIZE, FACE_SIZE)


def impute(
    face: FaceImage, missing: NDArray[np.bool_], tolerance: float = 0.01
) -> NDArray[np.float64]:
    """Fill missing pixels so that each is the weighted mean of its eight neighbours.

    The weights are 1/6 for direct and 1/12 for diagonal neighbours, rescaled at the border. The
    linear systems of all pictures are solved together by conjugate gradients.

    Args:
        face: grey, ``[h, w]``.
        missing: which pixels to fill, ``[K, h, w]``; not all of any picture.
        tolerance: largest remaining difference from the weighted mean, in grey levels.

    Returns:
        The K pictures, ``[K, h, w]``.
    """
    unknown = np.moveaxis(missing, 0, -1)
    total = _weigh(np.ones(unknown.shape))
    values = np.where(unknown, _mean_known(face, unknown), face[..., None])
    residual = np.where(unknown, _weigh(values) - total * values, 0)
    direction, energy = residual, (residual**2).sum((0, 1))
    while np.abs(residual).max() > tolerance * NEIGHBOURS.max():
        image = np.where(unknown, total * direction - _weigh(direction), 0)
        step = energy / np.maximum((direction * image).sum((0, 1)), TINY)
        values = values + step * direction
        residual = residual - step * image
        before, energy = energy, (residual**2).sum((0, 1))
        direction = residual + energy / np.maximum(before, TINY) * direction
    return np.moveaxis(values, -1, 0)


def _mean_known(face: FaceImage, unknown: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean of the known pixels of each picture, ``[K]``: the starting point."""
    known = ~unknown
    mean: NDArray[np.float64] = (face[..., None] * known).sum((0, 1)) / known.sum((0, 1))
    return mean


def _weigh(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weighted sum of each pixel's neighbours, in ``[h, w, K]``; 0 outside the picture."""
    summed = cv2.filter2D(values, -1, NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(summed, dtype=np.float64).reshape(values.shape)
