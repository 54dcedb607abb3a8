"""Figures of one face: the paper's three pictures side by side, and the strongest feature maps."""

import numpy as np

from service.drawing.brush import BOLD, MEDIUM, dot, text_width, write
from service.drawing.card import claim, percent, source
from service.drawing.heat import blend, colour, cut_face, heat_over, normalise, palette, upsample
from service.drawing.palette import EMOTION_COLOURS, SLATE, STONE
from service.drawing.scene import Style, Subject
from service.errors import BadParameter
from service.explanation import Explanation
from service.records import Picture

MARGIN, TILE, GUTTER = 28, 300, 16
"""Layout of the panel, in pixels."""

SMALL_TILE, SMALL_GUTTER, COLUMNS = 144, 12, 4
"""Layout of the grid of feature maps: pixels, and number of columns."""


def panel(picture: Picture, subject: Subject, style: Style) -> Picture:
    """The face, its heat map and the overlay of both, side by side, with the colour scale.

    Returns:
        RGB ``[height, width, 3]`` on white.
    """
    explanation = subject.explanation
    width = 2 * MARGIN + 3 * TILE + 2 * GUTTER + 90
    canvas = _sheet(width, MARGIN + 46 + TILE + 24 + MARGIN)
    _write_heading(canvas, subject, f"{claim(explanation)} · {source(explanation)}")
    face = cut_face(picture, subject.crop, TILE)
    tiles = {
        "original": face,
        "heatmap": colour(upsample(normalise(explanation.heat), TILE), style.colormap),
        "overlay": heat_over(face, explanation.heat, style.alpha, style.colormap),
    }
    top = MARGIN + 46
    for column, (name, tile) in enumerate(tiles.items()):
        left = MARGIN + column * (TILE + GUTTER)
        canvas[top : top + TILE, left : left + TILE] = tile
        middle = left + (TILE - text_width(name, 14, MEDIUM)) / 2
        write(canvas, middle, top + TILE + 24, name, 14, MEDIUM, STONE)
    if not explanation.empty:
        _draw_scale(canvas, MARGIN + 3 * (TILE + GUTTER) + 6, top, explanation, style.colormap)
    return canvas


def grid(picture: Picture, subject: Subject, style: Style) -> Picture:
    """The strongest feature maps over the face, with channel numbers and a common scale.

    Returns:
        RGB ``[height, width, 3]`` on white.

    Raises:
        BadParameter: the explanation has no feature maps.
    """
    features = subject.explanation.features
    if features is None:
        raise BadParameter("the explanation has no feature maps")
    count, step, label = len(features.channels), SMALL_TILE + SMALL_GUTTER, 22
    rows = -(-count // COLUMNS)
    top = MARGIN + 42
    width = 2 * MARGIN + COLUMNS * step - SMALL_GUTTER
    canvas = _sheet(width, top + rows * (step + label) - SMALL_GUTTER + MARGIN - 8)
    layer = subject.explanation.question.layer
    words = f"{layer}: the {count} strongest of {features.total} feature maps"
    _write_heading(canvas, subject, words)
    face = cut_face(picture, subject.crop, SMALL_TILE)
    strongest = max(float(features.maps.max()), np.finfo(np.float32).tiny)
    for index, channel in enumerate(features.channels):
        row, column = divmod(index, COLUMNS)
        left, y = MARGIN + column * step, top + row * (step + label)
        strength = upsample(features.maps[index] / strongest, SMALL_TILE)
        tile = blend(face, colour(strength, style.colormap), style.alpha)
        canvas[y : y + SMALL_TILE, left : left + SMALL_TILE] = tile
        write(canvas, left, y + SMALL_TILE + 17, f"{channel}", 13, MEDIUM, STONE)
    return canvas


def _sheet(width: int, height: int) -> Picture:
    return np.full((height, width, 3), 255, dtype=np.uint8)


def _write_heading(canvas: Picture, subject: Subject, words: str) -> None:
    """Write the emotion with its score on the left, and what is shown on the right."""
    prediction, baseline = subject.prediction, MARGIN + 17
    dot(canvas, MARGIN + 7, baseline - 7, 7, EMOTION_COLOURS[prediction.emotion])
    name = f"{prediction.emotion}  {percent(prediction.confidence)}"
    write(canvas, MARGIN + 24, baseline, name, 20, BOLD, SLATE)
    start = canvas.shape[1] - MARGIN - text_width(words, 14, MEDIUM)
    write(canvas, start, baseline, words, 14, MEDIUM, STONE)


def _draw_scale(
    canvas: Picture, left: int, top: int, explanation: Explanation, colormap: str
) -> None:
    """Draw the colour scale, highest value at the top, labelled with the map's extremes."""
    rungs = np.linspace(255, 0, TILE).round().astype(np.uint8)
    canvas[top : top + TILE, left : left + 14] = palette(colormap)[rungs][:, None]
    for value, baseline in ((explanation.heat.max(), 11), (explanation.heat.min(), TILE)):
        write(canvas, left + 22, top + baseline, f"{value:.2g}", 13, MEDIUM, STONE)
