"""Networks are averaged where that is better on validation faces, and only there."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from tests.training.generated import lively_network, noise_faces
from training.averaging import averaged
from training.data import FaceSet
from training.network import GiMeFive, logits_of, with_folded_norms, with_offsets

FACES = noise_faces("set", each=8)


@pytest.fixture(scope="module")
def best() -> GiMeFive:
    """A network that gives different answers to different faces."""
    network = with_folded_norms(lively_network())
    usual = logits_of(network, torch.from_numpy(FACES.faces)).mean(dim=0)
    return with_offsets(network, (-usual).tolist())


@pytest.fixture(scope="module")
def faces(best: GiMeFive) -> FaceSet:
    """Faces whose labels are what `best` answers."""
    answers = logits_of(best, torch.from_numpy(FACES.faces)).argmax(dim=1)
    return replace(FACES, labels=answers.numpy())


def moved(network: GiMeFive, amount: float) -> GiMeFive:
    """The network with its last weights moved in a direction that is always the same."""
    other = deepcopy(network)
    direction = torch.randn(other.fc3.weight.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        other.fc3.weight += amount * other.fc3.weight.std() * direction
    return other


def test_what_lies_between_is_found(best: GiMeFive, faces: FaceSet) -> None:
    mean, shares = averaged([moved(best, -2), moved(best, 3)], [faces])
    assert shares == pytest.approx((0.6, 0.4))
    torch.testing.assert_close(mean.fc3.weight, best.fc3.weight, atol=1e-4, rtol=1e-4)


def test_a_network_that_makes_it_worse_has_no_share(best: GiMeFive, faces: FaceSet) -> None:
    mean, shares = averaged([best, moved(best, 2), moved(best, 4)], [faces])
    assert shares == (1, 0, 0)
    assert all(
        torch.equal(value, best.state_dict()[name]) for name, value in mean.state_dict().items()
    )


def test_shares_add_up(best: GiMeFive, faces: FaceSet) -> None:
    """Later networks go into the mean of those before them."""
    networks = [moved(best, -0.8), moved(best, 0.8), moved(best, 0)]
    mean, shares = averaged(networks, [faces])
    assert sum(shares) == pytest.approx(1)
    together = sum(s * n.fc3.weight for s, n in zip(shares, networks, strict=True))
    torch.testing.assert_close(mean.fc3.weight, together)
