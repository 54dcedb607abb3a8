"""Faces like those of one data set are answered as if its emotions were more evenly frequent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.generated import noise_faces, random_network
from training.data import FaceSet
from training.errors import DataError
from training.evening import evened, weights
from training.network import logits_of, with_folded_norms

NETWORK = with_folded_norms(random_network())


def uneven(seed: int) -> FaceSet:
    """Faces of which 40 are happy, and 20, 20, 10, 10 and 5 show the other emotions."""
    faces = noise_faces("uneven", each=40, seed=seed)
    most = np.array([40, 20, 20, 10, 10, 5])
    return faces.take(np.flatnonzero(np.arange(len(faces)) // 6 < most[faces.labels]))


def striped(seed: int) -> FaceSet:
    """As many faces of each emotion, with white stripes."""
    faces = noise_faces("striped", each=40, seed=seed)
    stripes = np.arange(64) % 4 < 2
    return replace(faces, faces=np.where(stripes, np.uint8(255), faces.faces))


def gained(shares: dict[str, float], faces: FaceSet) -> torch.Tensor:
    """How much the logits of `faces` gain on average, relative to their mean, ``[6]``."""
    network = evened(NETWORK, [uneven(1), striped(2)], shares)
    tensor = torch.from_numpy(faces.faces)
    gain = (logits_of(network, tensor) - logits_of(NETWORK, tensor)).mean(dim=0)
    return gain - gain.mean()


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_rare_emotions_gain_where_faces_look_like_the_set(share: float) -> None:
    logarithms = np.log([1, 1, 1, 60 / 105, 60 / 105, 30 / 105])  # of six times the frequencies
    expected = -share * (logarithms - logarithms.mean())
    shares = {"uneven": share}
    assert gained(shares, uneven(3)).tolist() == pytest.approx(expected.tolist(), abs=0.1 * share)
    assert gained(shares, striped(4)).tolist() == pytest.approx([0] * 6, abs=0.1 * share)


def test_nothing_changes_where_frequencies_are_even_or_not_to_be_evened_out() -> None:
    for shares in ({"striped": 1.0}, {"uneven": 0.0}, {}):
        assert gained(shares, uneven(3)).tolist() == pytest.approx([0] * 6, abs=1e-5)


def test_a_negative_share_takes_back_a_positive_one() -> None:
    sets = [uneven(1), striped(2)]
    network = evened(evened(NETWORK, sets, {"uneven": 0.7}), sets, {"uneven": -0.7})
    torch.testing.assert_close(network.state_dict(), NETWORK.state_dict())


def test_unknown_set_is_rejected() -> None:
    with pytest.raises(DataError, match=r"even out other: the data sets are \['uneven', 'striped'"):
        gained({"other": 0.5}, uneven(3))


def test_emotions_that_less_than_one_face_in_six_shows_count_for_more() -> None:
    labels = np.array([0] * 12 + [1] * 6 + [2] * 3 + [3] * 3)
    assert weights(labels, 1.0).tolist() == [1, 1, 4 / 3, 4 / 3, 4, 4]  # as if shown once
    assert weights(labels, 0.5).tolist() == [1, 1, (4 / 3) ** 0.5, (4 / 3) ** 0.5, 2, 2]
    assert weights(labels, 0.0).tolist() == [1] * 6
