"""The score card beside a face, and the chip that replaces it if there is no room."""

from dataclasses import dataclass

import numpy as np

from service.drawing.brush import BOLD, MEDIUM, dot, fill, outline, text_width, write
from service.drawing.heat import palette
from service.drawing.palette import EMOTION_COLOURS, MIST, SLATE, WHITE
from service.drawing.scene import Subject
from service.explanation import Explanation
from service.records import EMOTIONS, Box, Picture

METHOD_TITLES = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "LayerCAM",
    "hirescam": "HiResCAM",
    "activations": "Activations",
}

OPACITY = 0.9
"""Opacity of the background: white text has a contrast of 12:1 even over white."""


def percent(share: float) -> str:
    """A score in per cent; only exact values are shown as 0% or 100%."""
    if 0 < share < 0.005:
        return "<1%"
    if 0.995 <= share < 1:
        return ">99%"
    return f"{share:.0%}"


def claim(explanation: Explanation) -> str:
    """What the heat map shows, in words."""
    target = EMOTIONS[explanation.target]
    if explanation.empty:
        return f"no evidence for {target}"
    if explanation.question.method == "activations":
        return "where the network responds"
    return f"evidence for {target}"


def source(explanation: Explanation) -> str:
    """The method and layer of the heat map."""
    return f"{METHOD_TITLES[explanation.question.method]} · {explanation.question.layer}"


@dataclass(frozen=True, slots=True)
class Card:
    """The emotion, the six scores as bars and numbers, and what the heat map shows.

    Attributes:
        subject: the face.
        colormap: of the heat map.
        unit: font size in pixels; all other sizes are multiples of it.
    """

    subject: Subject
    colormap: str
    unit: float

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        footer = 3.15 if self.subject.explanation.empty else 4.15
        return round(16.8 * self.unit), round((13.3 + footer) * self.unit)

    def draw(self, picture: Picture, x: float, y: float) -> None:
        """Draw the card with its top left corner at `x`, `y`."""
        unit = self.unit
        width, height = self.size
        ground(picture, Box(x, y, width, height), unit)
        left, right = x + unit, x + width - unit
        subject = self.subject
        dot(picture, left + 0.42 * unit, y + 1.62 * unit, 0.42 * unit, subject.tone)
        name = subject.title
        write(picture, left + 1.3 * unit, y + 2.08 * unit, name, 1.3 * unit, BOLD, WHITE)
        self._write_right(picture, right, y + 2.08 * unit, percent(subject.share), 1.3)
        for index in range(len(EMOTIONS)):
            self._draw_score(picture, index, left, right, y + (4.35 + 1.5 * index) * unit)
        self._draw_footer(picture, subject.explanation, left, right, y + 13.1 * unit)

    def _draw_score(
        self, picture: Picture, index: int, left: float, right: float, baseline: float
    ) -> None:
        """One emotion's name, bar and number: white for the named emotion, grey for others."""
        unit, emotion = self.unit, EMOTIONS[index]
        share = float(self.subject.prediction.scores[index])
        tone = WHITE if emotion == self.subject.emotion else MIST
        write(picture, left, baseline, emotion, unit, MEDIUM, tone)
        track = Box(
            left + 5.7 * unit, baseline - 0.62 * unit, right - left - 8.6 * unit, 0.5 * unit
        )
        fill(picture, track, WHITE, opacity=0.14, radius=unit)
        bar = Box(track.x, track.y, max(track.width * share, track.height), track.height)
        if share >= 0.005:
            fill(picture, bar, EMOTION_COLOURS[emotion], radius=unit)
        number = percent(share)
        start = right - text_width(number, unit, MEDIUM)
        write(picture, start, baseline, number, unit, MEDIUM, tone)

    def _draw_footer(
        self, picture: Picture, explanation: Explanation, left: float, right: float, y: float
    ) -> None:
        """What the heat map shows, its colour scale, method and layer."""
        unit, small = self.unit, 0.88 * self.unit
        fill(picture, Box(left, round(y), right - left, max(1, unit / 14)), WHITE, opacity=0.16)
        write(picture, left, y + 1.4 * unit, claim(explanation), small, MEDIUM, WHITE)
        if not explanation.empty:
            strip = Box(left, y + 1.95 * unit, right - left, 0.4 * unit)
            gradient(picture, strip, self.colormap)
            y += 1.0 * unit
        write(picture, left, y + 2.55 * unit, source(explanation), small, MEDIUM, MIST)

    def _write_right(
        self, picture: Picture, right: float, baseline: float, text: str, scale: float
    ) -> None:
        size = scale * self.unit
        write(picture, right - text_width(text, size, BOLD), baseline, text, size, BOLD, WHITE)


@dataclass(frozen=True, slots=True)
class Chip:
    """The emotion and its score in one line."""

    subject: Subject
    unit: float

    @property
    def text(self) -> str:
        """The text on the chip."""
        return f"{self.subject.title} {percent(self.subject.share)}"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        return round(text_width(self.text, self.unit, BOLD) + 2.3 * self.unit), round(
            1.8 * self.unit
        )

    def draw(self, picture: Picture, x: float, y: float) -> None:
        """Draw the chip with its top left corner at `x`, `y`."""
        unit = self.unit
        width, height = self.size
        ground(picture, Box(x, y, width, height), 0.7 * unit)
        dot(picture, x + 0.95 * unit, y + height / 2, 0.34 * unit, self.subject.tone)
        write(picture, x + 1.65 * unit, y + 1.26 * unit, self.text, unit, BOLD, WHITE)


def ground(picture: Picture, box: Box, unit: float) -> None:
    """Draw the dark, almost opaque background of cards and chips, with a faint light edge."""
    fill(picture, box, SLATE, opacity=OPACITY, radius=0.7 * unit)
    edge = Box(box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1)
    outline(picture, edge, WHITE, 1, 0.7 * unit, opacity=0.18)


def gradient(picture: Picture, box: Box, colormap: str) -> None:
    """Fill a box inside the picture with the colour scale, lowest value on the left."""
    left, right = round(box.x), round(box.x + box.width)
    top, bottom = round(box.y), round(box.y + box.height)
    steps = np.linspace(0, 255, right - left).round().astype(int)
    picture[top:bottom, left:right] = palette(colormap)[steps]
