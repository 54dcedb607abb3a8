"""Faces like those of one data set are answered as if its emotions were more evenly frequent."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.training.generated import noise_faces, random_network
from training.data import FaceSet
from training.errors import DataError
from training.evening import evened
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
def test_share_of_the_log_frequencies_is_removed_where_faces_look_like_the_set(
    share: float,
) -> None:
    logarithms = np.log([40, 20, 20, 10, 10, 5])
    expected = -share * (logarithms - logarithms.mean())
    shares = {"uneven": share}
    assert gained(shares, uneven(3)).tolist() == pytest.approx(expected.tolist(), abs=0.15 * share)
    assert gained(shares, striped(4)).tolist() == pytest.approx([0] * 6, abs=0.15 * share)


def test_nothing_changes_where_frequencies_are_even_or_not_to_be_evened_out() -> None:
    for shares in ({"striped": 1.0}, {"uneven": 0.0}, {}):
        assert gained(shares, uneven(3)).tolist() == pytest.approx([0] * 6, abs=1e-5)


def test_sets_that_cannot_be_evened_out_are_rejected() -> None:
    with pytest.raises(DataError, match=r"no data set other .*: there are \['uneven', 'striped'"):
        gained({"other": 0.5}, uneven(3))
    happy = uneven(1).take(np.array([0, 6, 12]))
    with pytest.raises(DataError, match="uneven does not show every emotion"):
        evened(NETWORK, [happy, striped(2)], {"uneven": 0.5})
