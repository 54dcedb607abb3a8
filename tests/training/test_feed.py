"""The order in which faces are drawn, their targets, and the class weights of the loss."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.training.generated import noise_faces
from training.data import FaceSet
from training.errors import DataError
from training.feed import Data


def grey_faces(name: str, count: int, first: int) -> FaceSet:
    """Uniform faces, each with its own grey value."""
    greys = np.arange(first, first + count, dtype=np.uint8)
    faces = np.repeat(greys, 64 * 64).reshape(count, 64, 64)
    return FaceSet(name, faces, np.arange(count) % 6, tuple(str(grey) for grey in greys))


SMALL, LARGE = grey_faces("small", 7, 0), grey_faces("large", 30, 100)
DATA = Data.of([SMALL, LARGE], [SMALL])


def drawn_greys(numbers: range, seed: int = 1) -> list[int]:
    faces, _ = DATA.batch(numbers, seed)
    return [int(face[0, 0]) for face in faces]


def test_data_sets_are_drawn_equally_often_regardless_of_size() -> None:
    drawn = drawn_greys(range(60))
    assert sum(grey < 100 for grey in drawn) == 30


def test_every_face_of_a_set_is_drawn_once_before_any_repeats() -> None:
    small = [grey for grey in drawn_greys(range(28)) if grey < 100]
    assert sorted(small[:7]) == sorted(small[7:14]) == list(range(7))
    assert small[:7] != small[7:14]


def test_turns_set_the_draw_frequency_of_each_set() -> None:
    data = Data.of([SMALL, LARGE], [SMALL], turns=(3, 1))
    faces, _ = data.batch(range(28), 1)
    drawn = [int(face[0, 0]) for face in faces]
    small = [grey for grey in drawn if grey < 100]
    assert sorted(small) == sorted(3 * [*range(7)])
    for rank in (0, 1):
        assert {grey < 100 for grey in drawn[rank::2]} == {True, False}


def test_given_share_of_draws_uses_crops_from_photographs() -> None:
    cropped = DATA.photographed(255 - DATA.faces, 0.25)
    own, own_targets = DATA.batch(range(1000), 1)
    drawn, targets = cropped.batch(range(1000), 1)
    instead = (drawn != own).flatten(1).any(1)
    torch.testing.assert_close(drawn[instead], 255 - own[instead])
    assert instead.float().mean() == pytest.approx(0.25, abs=0.05)
    torch.testing.assert_close(targets, own_targets)
    some, _ = cropped.batch(range(501, 1000, 2), 1)
    torch.testing.assert_close(some, drawn[501::2])


@pytest.mark.parametrize("turns", [(1,), (1, 1, 1), (1, 0)])
def test_invalid_turns_are_rejected(turns: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="for each training set, not"):
        Data.of([SMALL, LARGE], [SMALL], turns)


def test_data_sets_with_the_same_name_are_rejected() -> None:
    with pytest.raises(DataError, match="two data sets have the same name: small, small"):
        Data.of([SMALL, SMALL], [LARGE])


def test_processes_that_share_a_batch_draw_the_same_faces_as_one_process() -> None:
    whole = drawn_greys(range(16))
    shared = [drawn_greys(range(rank, 16, 2)) for rank in (0, 1)]
    assert Counter(whole) == Counter(shared[0] + shared[1])


def test_targets_are_the_labels_of_the_drawn_faces() -> None:
    faces, targets = DATA.batch(range(40), seed=3)
    first = [int(face[0, 0]) for face in faces]
    labels = torch.tensor([(grey - 100 if grey >= 100 else grey) % 6 for grey in first])
    assert torch.equal(targets, functional.one_hot(labels, 6).float())


def test_distillation_targets_interpolate_between_labels_and_teacher_answers() -> None:
    answers = torch.tensor([[0.07]] * len(SMALL) + [[0.3]] * len(LARGE)).expand(-1, 6)
    faces, targets = DATA.taught(answers, 0.25).batch(range(40), seed=3)
    _, labels = DATA.batch(range(40), seed=3)
    large = torch.tensor([[int(face[0, 0]) >= 100] for face in faces])
    expected = 0.75 * labels + 0.25 * torch.where(large, 0.3, 0.07)
    torch.testing.assert_close(targets, expected)


def test_order_depends_on_the_seed() -> None:
    assert drawn_greys(range(20), seed=1) != drawn_greys(range(20), seed=2)


@pytest.mark.parametrize(("balance", "times"), [(0.0, 1.0), (0.5, 2.0), (1.0, 4.0)])
def test_class_weights_are_one_on_average_and_fall_with_frequency(
    balance: float, times: float
) -> None:
    labels = np.array([0] * 16 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4 + [5] * 4)
    faces = np.zeros((len(labels), 64, 64), dtype=np.uint8)
    some = FaceSet("some", faces, labels, ("",) * len(labels))
    weights = Data.of([some], [some]).class_weights(balance)
    torch.testing.assert_close(weights[1:] / weights[0], torch.full((5,), times))
    assert float(weights[torch.from_numpy(labels)].mean()) == pytest.approx(1)


def test_emotion_without_faces_is_rejected_by_name() -> None:
    faces = noise_faces("set", each=2)
    without = faces.take(np.flatnonzero(faces.labels != 4))
    with pytest.raises(DataError, match="disgust"):
        Data.of([without], [without]).class_weights(0.5)
