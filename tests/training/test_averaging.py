"""Networks are averaged only as far as the validation loss improves."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from tests.training.generated import noise_faces, random_network
from training.averaging import averaged
from training.data import FaceSet
from training.network import GiMeFive, logits_of, with_folded_norms, with_offsets

FACES = noise_faces("set", each=8)


@pytest.fixture(scope="module")
def best() -> GiMeFive:
    """A network that predicts different emotions for different faces."""
    network = with_folded_norms(random_network())
    usual = logits_of(network, torch.from_numpy(FACES.faces)).mean(dim=0)
    return with_offsets(network, (-usual).tolist())


@pytest.fixture(scope="module")
def faces(best: GiMeFive) -> FaceSet:
    """Faces labelled with the predictions of `best`."""
    answers = logits_of(best, torch.from_numpy(FACES.faces)).argmax(dim=1)
    return replace(FACES, labels=answers.numpy())


def shifted(network: GiMeFive, amount: float) -> GiMeFive:
    """The network with the weights of its last layer shifted in a fixed direction."""
    other = deepcopy(network)
    direction = torch.randn(other.fc3.weight.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        other.fc3.weight += amount * other.fc3.weight.std() * direction
    return other


def test_best_interpolation_between_two_networks_is_found(best: GiMeFive, faces: FaceSet) -> None:
    mean, shares = averaged([shifted(best, -2), shifted(best, 3)], [faces])
    assert shares == pytest.approx((0.6, 0.4))
    torch.testing.assert_close(mean.fc3.weight, best.fc3.weight, atol=1e-4, rtol=1e-4)


def test_network_that_raises_the_validation_loss_gets_no_share(
    best: GiMeFive, faces: FaceSet
) -> None:
    mean, shares = averaged([best, shifted(best, 2), shifted(best, 4)], [faces])
    assert shares == (1, 0, 0)
    assert all(
        torch.equal(value, best.state_dict()[name]) for name, value in mean.state_dict().items()
    )


def test_shares_add_up_to_one_and_weight_the_mean(best: GiMeFive, faces: FaceSet) -> None:
    """Each network is averaged with the mean of those before it."""
    networks = [shifted(best, -0.8), shifted(best, 0.8), shifted(best, 0)]
    mean, shares = averaged(networks, [faces])
    assert sum(shares) == pytest.approx(1)
    weighted = sum(s * n.fc3.weight for s, n in zip(shares, networks, strict=True))
    torch.testing.assert_close(mean.fc3.weight, weighted)
