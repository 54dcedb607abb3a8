"""The overlays of video frames: what they show, and that they do not flicker."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from av.video.frame import VideoFrame

from service.annotator import FramePlanner, steady
from service.drawing import Arrangement, Style, Subject
from service.drawing.layout import overlap
from service.errors import ModelFailure
from service.explanation import ExplainedFace
from service.records import Box, Scores
from service.tracks import Tracker
from service.video import Frame
from service.video.orientation import Orientation
from tests.drawing.scenes import PLAIN, explanation, subject

ROOM = (854, 480)


def two_scores(first: float, second: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([first, second, 0, 0, 0, 0], dtype=np.float32)


def test_named_emotion_changes_only_when_another_leads_by_a_margin() -> None:
    wavering = [0.6, 0.52, 0.48, 0.51, 0.47, 0.5, 0.44, 0.3, 0.48, 0.53, 0.6]
    named, names = None, []
    for share in wavering:
        named = steady(named, two_scores(share, 1 - share))
        names.append(named)
    assert names == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0]


def tracked_subject(box: Box, track: int) -> Subject:
    return Subject(subject(box).prediction, subject(box).crop, explanation(), track)


def jittered_boxes(box: Box, frames: int) -> Sequence[Box]:
    rng = np.random.default_rng(2)
    return [
        Box(*(np.array([box.x, box.y, box.width, box.height]) + rng.normal(0, 1.5, 4)))
        for _ in range(frames)
    ]


@pytest.mark.parametrize(("x", "height"), [(80, 130), (377, 130), (700, 130), (80, 103.5)])
def test_label_of_a_jittering_face_keeps_its_side_and_barely_moves(x: float, height: float) -> None:
    """In the middle either side would fit, and a height of 103.5 is between two font sizes."""
    arrangement = Arrangement(ROOM, PLAIN)
    spots = []
    for box in jittered_boxes(Box(x, 150, 100, height), 40):
        ((_, spot),) = arrangement.place([tracked_subject(box, 1)])
        spots.append((spot.x, spot.y, spot.width, spot.height))
    steps = np.abs(np.diff(spots, axis=0))
    assert steps.max() < 4
    assert (np.ptp(spots, axis=0)[2:] == 0).all(), "its size stays"


def test_labels_of_moving_faces_overlap_no_label_and_no_face() -> None:
    arrangement = Arrangement(ROOM, Style())
    for step in range(0, 500, 8):
        faces = [
            tracked_subject(Box(20 + step, 160, 100, 130), 1),
            tracked_subject(Box(650, 30, 90, 120), 2),
        ]
        spots = [spot for _, spot in arrangement.place(faces)]
        assert not overlap(*spots)
        for spot in spots:
            assert not any(overlap(spot, face.zone) for face in faces)


def frame_planner() -> FramePlanner:
    return FramePlanner((640, 480), Style(), Tracker())


def explained_face(scores: Scores) -> ExplainedFace:
    seen = subject(Box(100, 100, 90, 90))
    return ExplainedFace(replace(seen.prediction, scores=scores), seen.crop, explanation())


def sampled_frame(index: int) -> Frame:
    orientation = Orientation(turned=False, mirrored=False, upended=False)
    decoded: VideoFrame = None  # type: ignore[assignment]  # its image is never read
    return Frame(index, index / 25, True, decoded, (1, 1), orientation)


def test_overlay_is_not_kept_after_a_failed_frame() -> None:
    plan = frame_planner()
    plan.plan(sampled_frame(0), [explained_face(np.eye(6, dtype=np.float32)[0])])
    plan.plan(sampled_frame(1), ModelFailure("no"))
    shown, moment = plan.plan(sampled_frame(2), None)
    assert (list(shown.subjects), moment) == ([], None)


def test_smoothed_scores_are_drawn_when_faces_are_tracked() -> None:
    plan = frame_planner()
    happy, sad = np.eye(6, dtype=np.float32)[[0, 2]]
    for index in range(25):
        plan.plan(sampled_frame(index), [explained_face(happy)])
    shown, _ = plan.plan(sampled_frame(25), [explained_face(sad)])
    assert shown.subjects[0].prediction.scores[0] > 0.8


def test_only_the_requested_face_gets_a_heat_map() -> None:
    happy = explained_face(np.eye(6, dtype=np.float32)[0])
    plan = FramePlanner((640, 480), Style(), None, explained=1)
    shown, _ = plan.plan(sampled_frame(0), [happy, happy])
    assert [subject.explanation.empty for subject in shown.subjects] == [True, False]
    assert not happy.explanation.empty


@pytest.mark.parametrize("tracker", [None, Tracker()])
def test_emotion_below_the_threshold_is_named_with_a_question_mark(
    tracker: Tracker | None,
) -> None:
    plan = FramePlanner((640, 480), Style(threshold=0.5), tracker)
    sure = np.array([0.6, 0.4, 0, 0, 0, 0], dtype=np.float32)
    titles = []
    for index, scores in enumerate((sure, 0.8 * sure)):
        shown, _ = plan.plan(sampled_frame(index * 100), [explained_face(scores)])
        titles.append(shown.subjects[0].title.removeprefix("#1 ").removeprefix("#2 "))
    assert titles == ["happiness", "happiness?"]
