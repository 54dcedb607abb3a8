"""The views of a single face, and the table of all views."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from service.drawing.figure import grid, panel
from service.drawing.heat import colour, cut_face, heat_over, normalise, upsample
from service.drawing.overlay import overlay
from service.drawing.scene import Style, Subject
from service.errors import BadParameter
from service.records import FACE_SIZE, Picture

SIDE = 512
"""Side of the face and heatmap views, in pixels."""


def draw(view: str, picture: Picture, subject: Subject, style: Style) -> NDArray[np.uint8]:
    """Draw an explanation.

    Args:
        view: one of `VIEWS`.
        picture: RGB, the whole photograph.
        subject: the face in it, with its explanation.
        style: how the heat map is drawn.

    Returns:
        RGB ``[height, width, 3]``; for ``map`` grey ``[64, 64]``.

    Raises:
        BadParameter: the view is unknown, or ``grid`` of an explanation without feature maps.
    """
    if view not in VIEWS:
        raise BadParameter(f"view is one of {', '.join(VIEWS)}, not {view!r}")
    return VIEWS[view](picture, subject, style)


def face(picture: Picture, subject: Subject, style: Style) -> Picture:
    """The crop, ``[512, 512, 3]``, with its heat map overlaid, unless the map is empty."""
    crop = cut_face(picture, subject.crop, SIDE)
    return heat_over(crop, subject.explanation.heat, style.alpha, style.colormap)


def heatmap(_picture: Picture, subject: Subject, style: Style) -> Picture:
    """The coloured heat map alone, ``[512, 512, 3]``."""
    return colour(upsample(normalise(subject.explanation.heat), SIDE), style.colormap)


def heat_values(_picture: Picture, subject: Subject, _style: Style) -> NDArray[np.uint8]:
    """The map as grey levels 0 to 255, ``[64, 64]``, aligned with the pixels of the crop."""
    values = upsample(normalise(subject.explanation.heat), FACE_SIZE)
    return np.rint(values * 255).astype(np.uint8)


VIEWS: dict[str, Callable[[Picture, Subject, Style], NDArray[np.uint8]]] = {
    "overlay": overlay,
    "face": face,
    "heatmap": heatmap,
    "panel": panel,
    "grid": grid,
    "map": heat_values,
}
"""The views of an explanation; the first is the default."""
