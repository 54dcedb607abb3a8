"""Heat maps as pictures: normalised, enlarged without a shift, coloured, and overlaid on a picture.

Coordinates follow OpenCV's convention: the centre of the top left pixel is (0, 0), so a picture
W pixels wide extends from -0.5 to W - 0.5.
"""

from functools import lru_cache
from typing import get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.explanation import Colormap, HeatMap
from service.records import FACE_SIZE, Picture

COLORMAPS = get_args(Colormap)
"""The colour scales; the first is the paper's."""

Affine = NDArray[np.float64]
"""``[2, 3]``: maps pixel centres of the 64x64 face crop to pixel centres of the picture, so that
``cv2.warpAffine(crop, matrix, (width, height))`` puts the crop back where it was taken from."""

FINE = 4 * FACE_SIZE
"""Side to which a map is enlarged before it is warped into a picture."""

TINY = float(np.finfo(np.float32).tiny)
"""Avoids a division by zero for empty maps."""

BAND = 1 << 16
"""Pixels of a picture that are overlaid at a time; each takes 18 bytes of temporary memory."""

FADE = 3.0
"""Width of the soft edge of a heat map, in pixels of the 64x64 crop."""


def normalise(heat: HeatMap) -> HeatMap:
    """Scale a map to 0..1, as in the paper; an empty map stays 0, a constant one becomes 1."""
    low, high = float(heat.min()), float(heat.max())
    if high == 0:
        return np.zeros_like(heat)
    if high == low:
        return np.ones_like(heat)
    return np.asarray((heat - low) / (high - low), dtype=np.float32)


def upsample(heat: HeatMap, side: int) -> HeatMap:
    """Enlarge a map smoothly to ``[side, side]``, with every cell still centred on its area.

    Cubic interpolation slightly overshoots the highest cells; the map is then rescaled instead of
    clipped, so that its maximum is unchanged and no plateau appears.
    """
    (height, width), rim = heat.shape, 2  # border cells to repeat, for the cubic kernel
    held = (rim, rim, rim + width, rim + height)
    image = Image.fromarray(np.pad(heat, rim, mode="edge"))
    image = image.resize((side, side), Image.Resampling.BICUBIC, box=held)
    smooth = np.asarray(image).clip(min=heat.min())
    return np.asarray(smooth * (heat.max() / max(smooth.max(), TINY)), dtype=np.float32)


@lru_cache(maxsize=len(COLORMAPS))
def palette(colormap: str) -> NDArray[np.uint8]:
    """The 256 RGB colours, ``[256, 3]``, of one of `COLORMAPS`, lowest value first; read-only."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    if colormap == "gray":
        colours = np.repeat(ramp, 3, axis=1)
    else:
        code: int = getattr(cv2, f"COLORMAP_{colormap.upper()}")
        colours = np.asarray(cv2.applyColorMap(ramp, code)[:, 0, ::-1], dtype=np.uint8, order="C")
    colours.flags.writeable = False
    return colours


def colour(strength: HeatMap, colormap: str) -> Picture:
    """The colours ``[h, w, 3]`` of values 0..1 ``[h, w]``."""
    steps = cv2.convertScaleAbs(strength, alpha=255)
    return np.asarray(cv2.applyColorMap(steps, palette(colormap)[:, None]), dtype=np.uint8)


def blend(picture: Picture, colours: Picture, opacity: float) -> Picture:
    """Blend colours over a picture of the same size; opacity 0..1."""
    mixed = cv2.addWeighted(colours, opacity, picture, 1 - opacity, 0)
    return np.asarray(mixed, dtype=np.uint8)


def heat_over(face: Picture, heat: HeatMap, alpha: float, colormap: str) -> Picture:
    """A square face crop ``[side, side, 3]`` with its heat map overlaid, unless that is empty."""
    if not heat.any():
        return face
    return blend(face, colour(upsample(normalise(heat), len(face)), colormap), alpha)


def lay_heat(picture: Picture, heat: HeatMap, crop: Affine, alpha: float, colormap: str) -> None:
    """Overlay a map on its face, in place, faded at the crop's border, unless the map is empty.

    Args:
        picture: RGB ``[height, width, 3]``, modified.
        heat: the map before normalisation.
        crop: the position of the face crop in the picture.
        alpha: opacity of the colours, 0 to 1.
        colormap: one of `COLORMAPS`.
    """
    left, top, right, bottom = _extent(crop, picture)
    if not heat.any() or left >= right or top >= bottom:
        return
    fine, fade = upsample(normalise(heat), FINE), np.float32(alpha) * _fade()
    place = crop @ _grid_to_crop(FINE)
    rows = max(1, BAND // (right - left))
    for start in range(top, bottom, rows):
        region = picture[start : min(start + rows, bottom), left:right]
        local = place - [[0, 0, left], [0, 0, start]]
        size = (region.shape[1], region.shape[0])
        strength = cv2.warpAffine(fine, local, size, borderMode=cv2.BORDER_REPLICATE)
        opacity = np.asarray(cv2.warpAffine(fade, local, size), dtype=np.float32)
        colours = colour(np.asarray(strength, dtype=np.float32), colormap)
        region[:] = cv2.blendLinear(region, colours, 1 - opacity, opacity)


def corners(crop: Affine) -> NDArray[np.float64]:
    """The corners of the face crop in the picture, ``[4, 2]``, x and y of pixel centres."""
    low, high = -0.5, FACE_SIZE - 0.5
    square = np.array([[low, low, 1], [high, low, 1], [high, high, 1], [low, high, 1]])
    return square @ crop.T


def cut_face(picture: Picture, crop: Affine, side: int) -> Picture:
    """The face crop ``[side, side, 3]`` in the picture's own colours and resolution."""
    scale = np.sqrt(abs(np.linalg.det(crop[:, :2]))) * FACE_SIZE / side
    fold = max(1, int(np.ceil(scale)))  # supersample, then average, if the picture is finer
    grid = _grid_to_crop(side * fold)
    cut = cv2.warpAffine(
        picture,
        crop @ grid,
        (side * fold, side * fold),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _grid_to_crop(side: int) -> NDArray[np.float64]:
    """``[3, 3]``: maps pixel centres of a crop with `side` pixels to those of the 64x64 crop."""
    step = FACE_SIZE / side
    offset = (step - 1) / 2
    return np.array([[step, 0, offset], [0, step, offset], [0, 0, 1]])


def _fade() -> NDArray[np.float32]:
    """1 inside, falling smoothly to 0 at the border of the crop, ``[FINE, FINE]``."""
    places = np.arange(FINE) + 0.5
    inward = np.minimum(places, FINE - places) * FACE_SIZE / FINE
    ramp = np.clip(inward / FADE, 0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return np.outer(ramp, ramp).astype(np.float32)


def _extent(crop: Affine, picture: Picture) -> tuple[int, int, int, int]:
    """The pixels of the picture that the crop covers: left, top, right, bottom (exclusive)."""
    height, width = picture.shape[:2]
    points = corners(crop)
    left, top = np.floor(points.min(axis=0)).astype(int)
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + 1
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)
