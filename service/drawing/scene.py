"""What is to be drawn: the faces in a picture, and how."""

from dataclasses import dataclass, replace

from service.drawing.heat import COLORMAPS, Affine, corners
from service.drawing.layout import union
from service.drawing.palette import EMOTION_COLOURS, TRACK_COLOURS, Colour
from service.errors import BadParameter
from service.explanation import Explanation
from service.records import EMOTIONS, Box, Prediction


@dataclass(frozen=True, slots=True)
class Style:
    """How heat is drawn.

    Attributes:
        alpha: share of the colours in the mixture, 0 to 1; the paper's 0.4 leaves 0.6 picture.
        colormap: one of `COLORMAPS`.
        landmarks: whether the five points are marked, where they are known.
        threshold: score below which the emotion that is named has a question mark.

    Raises:
        BadParameter: alpha out of range, or an unknown colour scale.
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
        prediction: its place and its scores.
        crop: where its 64x64 crop lies in the picture.
        explanation: its heat.
        track: the person's number, where people are followed.
        label: index in `EMOTIONS` of the emotion that is named, where that is not left to the
            scores; a label may lag behind them, so that it does not flicker.
        neighbours: boxes of other faces, which its card leaves alone.
        doubtful: whether the emotion that is named gets a question mark.
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
        """The emotion that is named."""
        return self.prediction.emotion if self.label is None else EMOTIONS[self.label]

    @property
    def share(self) -> float:
        """Its score."""
        return float(self.prediction.scores[EMOTIONS.index(self.emotion)])

    @property
    def tone(self) -> Colour:
        """The face's colour: the person's where people are followed, else the emotion's."""
        if self.track is None:
            return EMOTION_COLOURS[self.emotion]
        return TRACK_COLOURS[(self.track - 1) % len(TRACK_COLOURS)]

    @property
    def title(self) -> str:
        """The emotion, after the number of the person where people are followed."""
        name = f"{self.emotion}?" if self.doubtful else self.emotion
        return name if self.track is None else f"#{self.track} {name}"

    @property
    def zone(self) -> Box:
        """What the face's box and its heat take up, upright."""
        points = corners(self.crop) + 0.5
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return union((Box(left, top, right - left, bottom - top), self.prediction.face.box))

    def enlarged(self, factor: int) -> "Subject":
        """The subject where it is once its picture is enlarged by a whole factor."""
        face = self.prediction.face
        box, *neighbours = (
            Box(each.x * factor, each.y * factor, each.width * factor, each.height * factor)
            for each in (face.box, *self.neighbours)
        )
        landmarks = face.landmarks and tuple((x * factor, y * factor) for x, y in face.landmarks)
        crop = self.crop * factor
        crop[:, 2] += (factor - 1) / 2  # pixel centres: the first moves from 0 to there
        face = replace(face, box=box, landmarks=landmarks)
        return replace(
            self,
            prediction=replace(self.prediction, face=face),
            crop=crop,
            neighbours=tuple(neighbours),
        )
