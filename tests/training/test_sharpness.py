"""Climbing, on a bowl whose slope is known everywhere."""

import torch
from torch import Tensor, nn

from training.sharpness import perturbed


def means(norm: nn.BatchNorm1d) -> Tensor:
    assert norm.running_mean is not None
    return norm.running_mean.clone()


def test_the_weights_stand_uphill_while_it_lasts_and_then_where_they_stood() -> None:
    bowl = nn.Linear(2, 1)
    stood = [weight.detach().clone() for weight in bowl.parameters()]
    height = bowl.weight.square().sum() + bowl.bias.square().sum()  # uphill is outwards
    height.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with perturbed(bowl, 0.5):
        away = torch.cat([weight.flatten() for weight in bowl.parameters()])
        assert all(weight.grad is None for weight in bowl.parameters())
    before = torch.cat([weight.flatten() for weight in stood])
    torch.testing.assert_close(away, before * (1 + 0.5 / before.norm()))
    assert all(torch.equal(w, s) for w, s in zip(bowl.parameters(), stood, strict=True))


def test_norms_count_nothing_of_what_passes_up_there() -> None:
    norm = nn.BatchNorm1d(4)
    network = nn.Sequential(nn.Linear(3, 4), norm)
    faces = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    network(faces).square().sum().backward()
    counted = means(norm)
    with perturbed(network, 0.1):
        network(faces)
        assert torch.equal(means(norm), counted)
    network(faces)
    assert not torch.equal(means(norm), counted)
