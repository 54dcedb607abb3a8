"""Tracking people through frames, and smoothing their scores.

A face continues the track whose predicted box it overlaps most. The prediction extrapolates the
track's motion, so that people who cross keep their numbers, and so do those who are briefly hidden.
Pairs are matched greedily, best first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.records import (
    EMOTIONS,
    Box,
    FrameResult,
    Prediction,
    Scores,
    Summary,
    TrackSummary,
)

HALF_LIFE = 0.5
"""Half-life of a score in the smoothed scores, in seconds."""

TRACK_TIMEOUT = 2.0
"""Seconds out of sight after which a track ends."""

_SETTLING = 0.2  # Time constant of the velocity, in seconds.
_COASTING = 1.0  # Time constant of the decay of the velocity of an unseen track, in seconds.
_LEAST_GIOU = 0.1  # Least GIoU of a match with a track that was just seen;
_LENIENCY = 0.5  # it decreases linearly by this much
_LENIENT = 0.3  # over this many seconds out of sight.
_STALENESS = 0.1  # Penalty on the GIoU per second out of sight: recent tracks have priority.

_Edges: TypeAlias = NDArray[np.float64]  # [N, 4]: left, top, right, bottom


class Tracker:
    """Tracks the faces of one video, deterministically."""

    def __init__(self, half_life: float = HALF_LIFE, patience: float = TRACK_TIMEOUT) -> None:
        """Start without tracks.

        Args:
            half_life: of a score in the smoothed scores, in seconds.
            patience: seconds out of sight after which a track ends. A track of the previous
                frame continues, however long ago that was.
        """
        self._half_life = half_life
        self._patience = patience
        self._tracks: list[_Track] = []
        self._before = 0.0
        self._count = 0

    def follow(self, time: float, predictions: Sequence[Prediction]) -> tuple[Prediction, ...]:
        """The faces of the next frame with `track`, a number from 1, and `smoothed` scores.

        Args:
            time: of the frame in seconds, not before that of the last one.
            predictions: its faces.
        """
        self._tracks = [track for track in self._tracks if self._is_awaited(track, time)]
        known = dict(_matches(self._tracks, [each.face.box for each in predictions], time))
        self._before = time
        return tuple(
            self._see(known.get(index), prediction, time)
            for index, prediction in enumerate(predictions)
        )

    def _is_awaited(self, track: "_Track", time: float) -> bool:
        return track.seen == self._before or time - track.seen <= self._patience

    def _see(self, track: "_Track | None", prediction: Prediction, time: float) -> Prediction:
        edges = _edges([prediction.face.box])[0]
        if track is None:
            self._count += 1
            track = _Track(self._count, time, edges)
            self._tracks.append(track)
        smoothed = track.smooth(time, prediction.scores, self._half_life)
        track.move(time, edges)
        return replace(prediction, track=track.number, smoothed=smoothed)


class Summariser:
    """Summarises the results of a video; its memory grows with the tracks, not with the frames."""

    def __init__(self) -> None:
        self._frames = self._faces = 0
        self._tracks: dict[int, TrackSummary] = {}

    def add(self, result: FrameResult) -> None:
        """Add the result of the next frame."""
        self._frames += 1
        self._faces += len(result.predictions)
        for each in result.predictions:
            if each.track is not None:
                before = self._tracks.get(each.track)
                self._tracks[each.track] = _with_frame(before, each.track, result.time, each.scores)

    def summary(self) -> Summary:
        """The summary so far."""
        return Summary(self._frames, self._faces, tuple(self._tracks.values()))


def _with_frame(
    before: TrackSummary | None, track: int, time: float, scores: Scores
) -> TrackSummary:
    if before is None:
        return TrackSummary(track, time, time, 1, scores)
    frames = before.frames + 1
    mean = before.scores + (scores - before.scores) / np.float32(frames)
    return replace(before, last_time=time, frames=frames, scores=mean)


@dataclass(slots=True)
class _Track:
    """One person: box, velocity and scores."""

    number: int
    seen: float
    edges: NDArray[np.float64]
    velocity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    scores: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(EMOTIONS)))
    weight: float = 0.0

    def expected(self, time: float) -> NDArray[np.float64]:
        """The predicted edges; the velocity decays while the track is out of sight."""
        travelled = _COASTING * (1 - exp((self.seen - time) / _COASTING))
        return self.edges + self.velocity * travelled

    def move(self, time: float, edges: NDArray[np.float64]) -> None:
        """It was seen here; its scores are smoothed before, since they age from the last time."""
        passed = time - self.seen
        if passed > 0:
            trust = 1 - exp(-passed / _SETTLING)
            centre = (edges - self.edges).reshape(2, 2).mean(axis=0)
            self.velocity += trust * (np.tile(centre, 2) / passed - self.velocity)
        self.seen, self.edges = time, edges

    def smooth(self, time: float, scores: Scores, half_life: float) -> Scores:
        """The mean of all scores so far, with weights that decay exponentially with age."""
        kept = 0.5 ** ((time - self.seen) / half_life)
        self.scores = self.scores * kept + scores
        self.weight = self.weight * kept + 1
        return (self.scores / self.weight).astype(np.float32)


def _matches(
    tracks: Sequence[_Track], boxes: Sequence[Box], time: float
) -> Iterator[tuple[int, _Track]]:
    """Match boxes with tracks, each at most once; yield the index of a box and its track."""
    if not tracks or not boxes:
        return
    hidden = np.array([time - track.seen for track in tracks])
    expected = np.stack([track.expected(time) for track in tracks])
    giou = _giou(expected, _edges(boxes))
    least = _LEAST_GIOU - _LENIENCY * np.minimum(hidden / _LENIENT, 1)
    rank = np.where(giou > least[:, None], giou - _STALENESS * hidden[:, None], -np.inf)
    free_tracks, free_boxes = set(range(len(tracks))), set(range(len(boxes)))
    for place in np.argsort(-rank, axis=None, kind="stable"):
        which, index = divmod(int(place), len(boxes))
        if rank[which, index] == -np.inf:
            return
        if which in free_tracks and index in free_boxes:
            free_tracks.remove(which)
            free_boxes.remove(index)
            yield index, tracks[which]


def _edges(boxes: Sequence[Box]) -> _Edges:
    return np.array([(box.x, box.y, box.x + box.width, box.y + box.height) for box in boxes])


def _giou(one: _Edges, other: _Edges) -> NDArray[np.float64]:
    """The generalised IoU of each of N boxes with each of M, ``[N, M]``: 1 if equal, down to -1.

    Rezatofighi et al. (2019): intersection over union, minus the share of the enclosing box that
    neither covers. Unlike IoU, it also falls with the distance between disjoint boxes.
    """
    first, second = one[:, None], other[None]
    low, high = np.minimum(first, second), np.maximum(first, second)
    shared = _area(high[..., :2], low[..., 2:])
    union = _area(first[..., :2], first[..., 2:]) + _area(second[..., :2], second[..., 2:]) - shared
    around = _area(low[..., :2], high[..., 2:])
    giou: NDArray[np.float64] = shared / union - (around - union) / around
    return giou


def _area(top_left: NDArray[np.float64], bottom_right: NDArray[np.float64]) -> NDArray[np.float64]:
    area: NDArray[np.float64] = (bottom_right - top_left).clip(min=0).prod(axis=-1)
    return area
