"""Tracking faces that move, cross, are hidden, leave and return."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.records import Box, Face, FrameResult, Prediction, Scores
from service.tracks import Summariser, Tracker

Path = Callable[[float], Box | None]
"""The bounding box of a face at a given time; None while the face is not visible."""

EVEN = np.full(6, 1 / 6, dtype=np.float32)
RATES = [2, 5, 10, 30]


def scores(**shares: float) -> Scores:
    happy, sad = shares.get("happy", 0.0), shares.get("sad", 0.0)
    rest = (1 - happy - sad) / 4
    return np.array([happy, rest, sad, rest, rest, rest], dtype=np.float32)


def faces(boxes: Sequence[Box], shown: Scores = EVEN) -> list[Prediction]:
    return [Prediction(Face(box), shown) for box in boxes]


def moving_face(start: tuple[float, float], pace: tuple[float, float], side: float = 100) -> Path:
    """A face moving at a constant `pace`, in pixels per second."""
    return lambda time: Box(start[0] + pace[0] * time, start[1] + pace[1] * time, side, side * 1.2)


def hidden_between(path: Path, start: float, end: float) -> Path:
    return lambda time: None if start <= time < end else path(time)


def times(seconds: float, rate: float) -> Iterator[float]:
    return (index / rate for index in range(int(seconds * rate) + 1))


def track_numbers(paths: Sequence[Path], rate: float, seconds: float = 4) -> list[list[int | None]]:
    """The track numbers of each face, one per frame in which it was visible."""
    tracker, jitter = Tracker(), np.random.default_rng(3)
    numbers: list[list[int | None]] = [[] for _ in paths]
    for time in times(seconds, rate):
        seen = [(who, box) for who, path in enumerate(paths) if (box := path(time))]
        seen.sort(key=lambda each: each[1].y + jitter.normal())  # order carries no information
        boxes = [
            Box(*(np.array([box.x, box.y, box.width, box.height]) + jitter.normal(0, 2, 4)))
            for _, box in seen
        ]
        for (who, _), prediction in zip(seen, tracker.follow(time, faces(boxes)), strict=True):
            numbers[who].append(prediction.track)
    return numbers


def number_changes(numbers: Sequence[Sequence[int | None]]) -> int:
    """How often the track number of a face changed."""
    return sum(before != after for each in numbers for before, after in pairwise(each))


@pytest.mark.parametrize("rate", RATES)
def test_separate_faces_keep_their_track_numbers(rate: float) -> None:
    paths = [moving_face((100 + 300 * n, 200), (20, -10), 60 + 20 * n) for n in range(5)]
    numbers = track_numbers(paths, rate)
    assert number_changes(numbers) == 0
    assert sorted(each[0] or 0 for each in numbers) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("rate", [5, 10, 30])
@pytest.mark.parametrize("pace", [60, 150, 240])
def test_crossing_faces_keep_their_track_numbers(rate: float, pace: float) -> None:
    numbers = track_numbers(
        [moving_face((0, 200), (pace, 0)), moving_face((4 * pace, 215), (-pace, 0))], rate
    )
    assert number_changes(numbers) == 0


@pytest.mark.parametrize("rate", [5, 10, 30])
def test_face_occluded_while_crossing_keeps_its_track_number(rate: float) -> None:
    front, back = moving_face((0, 200), (150, 0)), moving_face((600, 210), (-150, 0))
    numbers = track_numbers([front, hidden_between(back, 1.75, 2.25)], rate)
    assert number_changes(numbers) == 0


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("gap", [0.2, 0.6, 1.4])
def test_briefly_missed_face_keeps_its_track_number(rate: float, gap: float) -> None:
    numbers = track_numbers(
        [hidden_between(moving_face((100, 100), (60, 20)), 1.5, 1.5 + gap)], rate
    )
    assert number_changes(numbers) == 0


def test_face_that_returns_after_a_long_absence_gets_a_new_track_number() -> None:
    (numbers,) = track_numbers(
        [hidden_between(moving_face((100, 100), (0, 0)), 1, 4)], 10, seconds=5
    )
    assert number_changes([numbers]) == 1
    assert numbers[-1] == 2


@pytest.mark.parametrize(
    ("apart", "jump", "number"),
    [(0.02, 80, 1), (0.02, 90, 2), (0.5, 100, 1), (0.5, 200, 1), (1.0, 300, 2)],
)
def test_the_sooner_a_face_is_seen_again_the_nearer_it_must_be_to_keep_its_track_number(
    apart: float, jump: float, number: int
) -> None:
    """The boxes, 100 pixels wide, overlap by a fifth, by a tenth, touch, or are far apart."""
    tracker = Tracker()
    tracker.follow(5.0, faces([Box(0, 0, 100, 100)]))
    (seen,) = tracker.follow(5.0 + apart, faces([Box(jump, 0, 100, 100)]))
    assert seen.track == number


def test_a_face_between_two_tracks_continues_that_which_was_seen_last() -> None:
    tracker, lost, seen = Tracker(), Box(0, 0, 100, 100), Box(100, 0, 100, 100)
    tracker.follow(0.0, faces([lost, seen]))
    tracker.follow(0.9, faces([seen]))
    (between,) = tracker.follow(1.0, faces([Box(50, 0, 100, 100)]))
    assert between.track == 2


def test_new_face_elsewhere_does_not_inherit_the_track_number_of_a_lost_face() -> None:
    left, entered = moving_face((0, 100), (0, 0)), moving_face((900, 500), (0, 0))
    numbers = track_numbers([hidden_between(left, 1, 9), hidden_between(entered, 0, 1.2)], 10)
    assert set(numbers[0]) == {1}
    assert set(numbers[1]) == {2}


def test_slow_faces_are_tracked_when_frames_are_10_seconds_apart() -> None:
    numbers = track_numbers(
        [moving_face((100, 100), (1, 0)), moving_face((400, 100), (-1, 0))], 0.1, seconds=100
    )
    assert number_changes(numbers) == 0


def test_200_faces_are_tracked_at_once() -> None:
    crowd = [moving_face((150 * (n % 20), 150 * (n // 20)), (7, 3)) for n in range(200)]
    numbers = track_numbers(crowd, 10, seconds=1)
    assert number_changes(numbers) == 0
    assert {each[0] for each in numbers} == set(range(1, 201))


def test_face_that_approaches_the_camera_keeps_its_track_number() -> None:
    def nearer(time: float) -> Box:
        return Box(400 - 50 * time, 300 - 60 * time, 60 + 100 * time, 72 + 120 * time)

    assert number_changes(track_numbers([nearer], 10)) == 0


side, place = st.floats(1, 500), st.floats(-500, 2000)
frames = st.lists(
    st.tuples(
        st.floats(0, 3),
        st.lists(st.builds(Box, x=place, y=place, width=side, height=side), max_size=6),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(frames)
def test_any_faces_get_unique_track_numbers_without_gaps_and_valid_smoothed_scores(
    video: list[tuple[float, list[Box]]],
) -> None:
    tracker, again, time, highest = Tracker(), Tracker(), 0.0, 0
    for passed, boxes in video:
        time += passed
        shown = scores(happy=0.7)
        followed = tracker.follow(time, faces(boxes, shown))
        numbers = [each.track or 0 for each in followed]
        assert [each.face.box for each in followed] == boxes
        assert len(set(numbers)) == len(boxes)
        assert all(number >= 1 for number in numbers)
        new = sorted(number for number in numbers if number > highest)
        assert new == list(range(highest + 1, highest + 1 + len(new))), "numbers have no gaps"
        highest += len(new)
        for each in followed:
            assert each.smoothed is not None
            np.testing.assert_allclose(each.smoothed, shown, atol=1e-6)
        assert numbers == [each.track for each in again.follow(time, faces(boxes, shown))]


def smoothed_scores(shown: Sequence[tuple[float, Scores]], half_life: float) -> Scores:
    tracker = Tracker(half_life)
    for time, each in shown:
        (face,) = tracker.follow(time, faces([Box(0, 0, 90, 90)], each))
    assert face.smoothed is not None
    return face.smoothed


@pytest.mark.parametrize("rate", [10, 30])
@pytest.mark.parametrize("half_life", [0.4, 1.5])
def test_new_scores_have_half_the_weight_after_the_half_life(rate: float, half_life: float) -> None:
    before = [(time, scores(happy=1.0)) for time in times(20, rate)]
    after = [(20 + time, scores(sad=1.0)) for time in times(half_life, rate) if time]
    shares = smoothed_scores([*before, *after], half_life)
    assert shares[0] == pytest.approx(0.5, abs=0.05)
    assert shares[2] == pytest.approx(0.5, abs=0.05)


def test_first_scores_are_not_smoothed_and_a_flicker_is_damped() -> None:
    assert smoothed_scores([(0, scores(happy=0.9))], 0.5)[0] == pytest.approx(0.9)
    steady = [(time, scores(happy=0.9)) for time in times(2, 30)]
    assert smoothed_scores([*steady, (2.03, scores(sad=0.9))], 0.5)[0] > 0.8


def test_summary_describes_frames_faces_and_tracks() -> None:
    tracker, summariser = Tracker(), Summariser()
    for index, time in enumerate(times(2, 10)):
        present = [Box(0, 0, 90, 90), Box(500, 0, 90, 90)] if time >= 1 else [Box(0, 0, 90, 90)]
        shown = scores(happy=0.9) if time < 1 else scores(sad=0.8)
        followed = tracker.follow(time, faces(present, shown))
        summariser.add(FrameResult(index, time, followed))
    summary = summariser.summary()
    assert (summary.frames, summary.faces) == (21, 32)
    first, second = summary.tracks
    assert (first.track, first.first_time, first.last_time, first.frames) == (1, 0, 2, 21)
    assert (second.track, second.first_time, second.last_time, second.frames) == (2, 1, 2, 11)
    assert second.emotion == "sadness"
    np.testing.assert_allclose(
        first.scores, (10 * scores(happy=0.9) + 11 * scores(sad=0.8)) / 21, atol=1e-6
    )


def test_faces_without_a_track_are_counted_in_the_summary_and_belong_to_no_track() -> None:
    summariser = Summariser()
    summariser.add(FrameResult(0, 0.0, tuple(faces([Box(0, 0, 90, 90)]))))
    summary = summariser.summary()
    assert (summary.frames, summary.faces, summary.tracks) == (1, 1, ())


def test_face_that_stops_while_hidden_keeps_its_track_number() -> None:
    """Motion is not extrapolated for the whole time that a face is missed."""

    def stops(time: float) -> Box:
        return Box(100 + 200 * min(time, 1.6), 100, 100, 120)

    assert number_changes(track_numbers([hidden_between(stops, 1.5, 3.2)], 10)) == 0
