"""What to draw: the faces of a picture, and the style."""

from dataclasses import dataclass, replace

from service.drawing.heat import COLORMAPS, Affine, corners
from service.drawing.layout import union
from service.drawing.palette import EMOTION_COLOURS, TRACK_COLOURS, Colour
from service.errors import BadParameter
from service.explanation import Explanation
from service.records import EMOTIONS, Box, Prediction


@dataclass(frozen=True, slots=True)
class Style:
    """How heat maps are drawn.

    Attributes:
        alpha: opacity of the heat map, 0 to 1; 0.4 in the paper.
        colormap: one of `COLORMAPS`.
        landmarks: whether to mark the five landmarks, if known.
        threshold: score below which the named emotion gets a question mark.

    Raises:
        BadParameter: alpha is out of range, or the colormap is unknown.
    """

    alpha: float = 0.4
    colormap: str = "jet"
    landmarks: bool = False
    threshold: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise BadParameter(f"alpha is 0 to 1, not {self.alpha}")
        if self.colormap not in COLORMAPS:
            raise BadParameter(f"colormap is one of {', '.join(COLORMAPS)}, not {self.colormap!r}")


@dataclass(frozen=True, slots=True)
class Subject:
    """A face to draw.

    Attributes:
        prediction: its box and its scores.
        crop: the position of its 64x64 crop in the picture.
        explanation: its heat map.
        track: the person's number, if people are tracked.
        label: index in `EMOTIONS` of the emotion to name; None for the predicted one. A label may
            change later than the scores, so that it does not flicker.
        neighbours: boxes of other faces, which its card must not cover.
        doubtful: whether the named emotion gets a question mark.
    """

    prediction: Prediction
    crop: Affine
    explanation: Explanation
    track: int | None = None
    label: int | None = None
    neighbours: tuple[Box, ...] = ()
    doubtful: bool = False

    @property
    def emotion(self) -> str:
        """The named emotion."""
        return self.prediction.emotion if self.label is None else EMOTIONS[self.label]

    @property
    def share(self) -> float:
        """The score of the named emotion."""
        return float(self.prediction.scores[EMOTIONS.index(self.emotion)])

    @property
    def tone(self) -> Colour:
        """The face's colour: that of the person if people are tracked, else that of the emotion."""
        if self.track is None:
            return EMOTION_COLOURS[self.emotion]
        return TRACK_COLOURS[(self.track - 1) % len(TRACK_COLOURS)]

    @property
    def title(self) -> str:
        """The emotion, preceded by the person's number if people are tracked."""
        name = f"{self.emotion}?" if self.doubtful else self.emotion
        return name if self.track is None else f"#{self.track} {name}"

    @property
    def zone(self) -> Box:
        """The bounding box of the face's box and its heat map."""
        points = corners(self.crop) + 0.5
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return union((Box(left, top, right - left, bottom - top), self.prediction.face.box))

    def enlarged(self, factor: int) -> "Subject":
        """The subject in its picture after enlarging by a whole factor."""
        face = self.prediction.face
        box, *neighbours = (
            Box(each.x * factor, each.y * factor, each.width * factor, each.height * factor)
            for each in (face.box, *self.neighbours)
        )
        landmarks = face.landmarks and tuple((x * factor, y * factor) for x, y in face.landmarks)
        crop = self.crop * factor
        crop[:, 2] += (factor - 1) / 2  # the centre of the first pixel moves from 0 to this
        face = replace(face, box=box, landmarks=landmarks)
        return replace(
            self,
            prediction=replace(self.prediction, face=face),
            crop=crop,
            neighbours=tuple(neighbours),
        )
