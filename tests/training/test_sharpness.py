"""Perturbation of weights, on a quadratic loss with a known gradient."""

import torch
from torch import Tensor, nn

from training.sharpness import perturbed


def running_mean_of(norm: nn.BatchNorm1d) -> Tensor:
    assert norm.running_mean is not None
    return norm.running_mean.clone()


def test_weights_move_along_the_gradient_and_are_restored() -> None:
    linear = nn.Linear(2, 1)
    originals = [weight.detach().clone() for weight in linear.parameters()]
    # The gradient of this loss points away from zero.
    loss = linear.weight.square().sum() + linear.bias.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    with perturbed(linear, 0.5):
        perturbed_weights = torch.cat([weight.flatten() for weight in linear.parameters()])
        assert all(weight.grad is None for weight in linear.parameters())
    original = torch.cat([weight.flatten() for weight in originals])
    torch.testing.assert_close(perturbed_weights, original * (1 + 0.5 / original.norm()))
    assert all(torch.equal(w, s) for w, s in zip(linear.parameters(), originals, strict=True))


def test_norm_statistics_are_not_updated_at_perturbed_weights() -> None:
    norm = nn.BatchNorm1d(4)
    network = nn.Sequential(nn.Linear(3, 4), norm)
    faces = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    network(faces).square().sum().backward()
    statistics = running_mean_of(norm)
    with perturbed(network, 0.1):
        network(faces)
        assert torch.equal(running_mean_of(norm), statistics)
    network(faces)
    assert not torch.equal(running_mean_of(norm), statistics)
