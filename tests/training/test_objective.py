"""What a step minimises, against the formulas written out in numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from training.objective import Objective
from training.recipe import Recipe

PLAIN = Recipe(label_smoothing=0.0)
WEIGHTS = torch.tensor([0.5, 1.0, 1.5, 2.0, 1.0, 1.0])


class Linear(nn.Module):
    """Logits that are sums over columns, so that mirror images and mixtures answer differently."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(32 * 32, 6, generator=generator) / 32)

    def forward(self, faces: Tensor) -> Tensor:
        return faces.flatten(1) @ self.weight


NETWORK = Linear()
FACES = torch.randn(5, 32, 32, generator=torch.Generator().manual_seed(2))
TARGETS = torch.eye(6)[torch.tensor([0, 3, 2, 2, 5])]


def loss(recipe: Recipe) -> float:
    return Objective(recipe, WEIGHTS)(NETWORK, FACES, TARGETS).item()


def log_scores(faces: Tensor = FACES) -> np.ndarray[Any, np.dtype[np.float64]]:
    logits = NETWORK(faces).double().detach().numpy()
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def cross_entropy(targets: np.ndarray[Any, Any], logs: np.ndarray[Any, Any]) -> float:
    return float(-(targets * WEIGHTS.numpy() * logs).sum(axis=1).mean())


def test_without_more_it_is_the_weighted_cross_entropy() -> None:
    assert loss(PLAIN) == pytest.approx(cross_entropy(TARGETS.numpy(), log_scores()), rel=1e-5)


def test_label_smoothing_spreads_a_part_evenly() -> None:
    spread = 0.9 * TARGETS.numpy() + 0.1 / 6
    value = loss(replace(PLAIN, label_smoothing=0.1))
    assert value == pytest.approx(cross_entropy(spread, log_scores()), rel=1e-5)


def test_bootstrapping_believes_the_network_in_part() -> None:
    logs = log_scores()
    believed = 0.7 * TARGETS.numpy() + 0.3 * np.exp(logs)
    value = loss(replace(PLAIN, bootstrapping=0.3))
    assert value == pytest.approx(cross_entropy(believed, logs), rel=1e-5)


def test_teachers_that_see_the_inputs_answer_them_as_they_are_mixed() -> None:
    seen: list[Tensor] = []

    class Teacher(nn.Module):
        def forward(self, faces: Tensor) -> Tensor:
            seen.append(faces)
            return NETWORK.forward(faces).flip(1) * self.scale

        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

    torch.manual_seed(7)
    taught = Objective(replace(PLAIN, mixup=1.0), WEIGHTS)(NETWORK, FACES, TARGETS).item()
    torch.manual_seed(7)
    recipe = replace(PLAIN, mixup=1.0, teaching=1.0, teachers=("a", "b"), teachers_see="inputs")
    teachers = (Teacher(1.0), Teacher(2.0))
    value = Objective(recipe, WEIGHTS, teachers)(NETWORK, FACES, TARGETS).item()
    assert value != pytest.approx(taught, rel=1e-3)
    assert not torch.equal(seen[0], FACES)
    assert torch.equal(seen[0], seen[1])
    logs = log_scores(seen[0])
    softly, surely = np.exp(logs[:, ::-1]), np.exp(2 * logs[:, ::-1])
    mean = (softly + surely / surely.sum(axis=1, keepdims=True)) / 2
    assert value == pytest.approx(cross_entropy(mean, logs), rel=1e-4)


def test_teachers_that_see_mirror_images_too_answer_by_the_mean_of_both() -> None:
    recipe = replace(PLAIN, teaching=1.0, teachers=("a",), teachers_see="mirrored")
    value = Objective(recipe, WEIGHTS, (NETWORK,))(NETWORK, FACES, TARGETS).item()
    mean = (np.exp(log_scores()) + np.exp(log_scores(FACES.flip(2)))) / 2
    assert value == pytest.approx(cross_entropy(mean, log_scores()), rel=1e-4)


def test_consistency_is_the_divergence_of_mirror_images_beside_the_loss_of_both() -> None:
    logs, mirrored = log_scores(), log_scores(FACES.flip(2))
    both = (cross_entropy(TARGETS.numpy(), logs) + cross_entropy(TARGETS.numpy(), mirrored)) / 2
    apart = ((np.exp(logs) - np.exp(mirrored)) * (logs - mirrored)).sum(axis=1).mean()
    assert apart > 0.1
    value = loss(replace(PLAIN, consistency=0.5))
    assert value == pytest.approx(both + 0.5 * apart, rel=1e-5)


def test_mixup_mixes_what_is_seen_and_what_is_to_be_answered_alike() -> None:
    """Logits here are linear in the faces, so a consistent mixture of both can be found again."""
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def forward(self, faces: Tensor) -> Tensor:
            seen.append(faces)
            return NETWORK.forward(faces)

    torch.manual_seed(7)
    objective = Objective(replace(PLAIN, mixup=1.0), WEIGHTS)
    value = objective(Watching(), FACES, TARGETS).item()
    shares = torch.linalg.lstsq(FACES.flatten(1).T, seen[0].flatten(1).T).solution.T
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(5), atol=1e-4, rtol=0)
    assert 0.01 < float(shares.max(dim=1).values.min()) < 0.99
    mixed = shares.numpy() @ TARGETS.numpy()
    assert value == pytest.approx(cross_entropy(mixed, log_scores(seen[0])), rel=1e-4)
