"""What is drawn on videos does not flicker."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from service.annotator import FramePlanner, steady
from service.drawing import Arrangement, Style, Subject
from service.drawing.layout import overlap
from service.errors import ModelFailure
from service.explanation import ExplainedFace
from service.records import Box, Scores
from service.tracks import Tracker
from service.video import Frame
from tests.drawing.scenes import PLAIN, explanation, subject

ROOM = (854, 480)


def shares(first: float, second: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([first, second, 0, 0, 0, 0], dtype=np.float32)


def test_the_named_emotion_changes_only_when_another_leads_clearly() -> None:
    wavering = [0.6, 0.52, 0.48, 0.51, 0.47, 0.5, 0.44, 0.3, 0.48, 0.53, 0.6]
    named, names = None, []
    for share in wavering:
        named = steady(named, shares(share, 1 - share))
        names.append(named)
    assert names == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0]


def followed(box: Box, track: int) -> Subject:
    return Subject(subject(box).prediction, subject(box).crop, explanation(), track)


def trembling(box: Box, frames: int) -> Sequence[Box]:
    rng = np.random.default_rng(2)
    return [
        Box(*(np.array([box.x, box.y, box.width, box.height]) + rng.normal(0, 1.5, 4)))
        for _ in range(frames)
    ]


@pytest.mark.parametrize(("x", "height"), [(80, 130), (377, 130), (700, 130), (80, 103.5)])
def test_a_label_beside_a_face_that_trembles_keeps_its_side_and_hardly_moves(
    x: float, height: float
) -> None:
    """In the middle either side would do, and 103.5 pixels lie between two sizes of type."""
    arrangement = Arrangement(ROOM, PLAIN)
    spots = []
    for box in trembling(Box(x, 150, 100, height), 40):
        ((_, spot),) = arrangement.place([followed(box, 1)])
        spots.append((spot.x, spot.y, spot.width, spot.height))
    steps = np.abs(np.diff(spots, axis=0))
    assert steps.max() < 4
    assert (np.ptp(spots, axis=0)[2:] == 0).all(), "its size stays"


def test_a_label_follows_a_face_that_walks_and_never_covers_one() -> None:
    arrangement = Arrangement(ROOM, Style())
    for step in range(0, 500, 8):
        faces = [followed(Box(20 + step, 160, 100, 130), 1), followed(Box(650, 30, 90, 120), 2)]
        spots = [spot for _, spot in arrangement.place(faces)]
        assert not overlap(*spots)
        for spot in spots:
            assert not any(overlap(spot, face.zone) for face in faces)


def planner() -> FramePlanner:
    return FramePlanner((640, 480), Style(), Tracker())


def explained(scores: Scores) -> ExplainedFace:
    seen = subject(Box(100, 100, 90, 90))
    return ExplainedFace(replace(seen.prediction, scores=scores), seen.crop, explanation())


def frame(index: int) -> Frame:
    return Frame(index, index / 25, True, None, (1, 1))  # type: ignore[arg-type]  # nobody looks at its picture


def test_what_was_drawn_before_a_frame_that_failed_is_not_drawn_after_it() -> None:
    plan = planner()
    plan.plan(frame(0), [explained(np.eye(6, dtype=np.float32)[0])])
    plan.plan(frame(1), ModelFailure("no"))
    shown, moment = plan.plan(frame(2), None)
    assert (list(shown.subjects), moment) == ([], None)


def test_smoothed_scores_are_drawn_where_people_are_followed() -> None:
    plan = planner()
    happy, sad = np.eye(6, dtype=np.float32)[[0, 2]]
    for index in range(25):
        plan.plan(frame(index), [explained(happy)])
    shown, _ = plan.plan(frame(25), [explained(sad)])
    assert shown.subjects[0].prediction.scores[0] > 0.8


def test_only_the_heat_of_the_face_that_is_asked_for_is_drawn() -> None:
    happy = explained(np.eye(6, dtype=np.float32)[0])
    plan = FramePlanner((640, 480), Style(), None, explained=1)
    shown, _ = plan.plan(frame(0), [happy, happy])
    assert [subject.explanation.empty for subject in shown.subjects] == [True, False]
    assert not happy.explanation.empty


@pytest.mark.parametrize("tracker", [None, Tracker()])
def test_an_emotion_below_the_threshold_is_named_with_a_question_mark(
    tracker: Tracker | None,
) -> None:
    plan = FramePlanner((640, 480), Style(threshold=0.5), tracker)
    sure = np.array([0.6, 0.4, 0, 0, 0, 0], dtype=np.float32)
    titles = []
    for index, scores in enumerate((sure, 0.8 * sure)):
        shown, _ = plan.plan(frame(index * 100), [explained(scores)])
        titles.append(shown.subjects[0].title.removeprefix("#1 ").removeprefix("#2 "))
    assert titles == ["happiness", "happiness?"]
