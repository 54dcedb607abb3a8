"""The training loss, against its formulas written out in numpy."""

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
    """Logits linear in the pixels, which differ between a face, its mirror image and mixtures."""

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


def test_plain_loss_is_the_weighted_cross_entropy() -> None:
    assert loss(PLAIN) == pytest.approx(cross_entropy(TARGETS.numpy(), log_scores()), rel=1e-5)


def test_label_smoothing_spreads_probability_evenly() -> None:
    spread = 0.9 * TARGETS.numpy() + 0.1 / 6
    value = loss(replace(PLAIN, label_smoothing=0.1))
    assert value == pytest.approx(cross_entropy(spread, log_scores()), rel=1e-5)


def test_bootstrapping_mixes_predictions_into_the_targets() -> None:
    logs = log_scores()
    mixed = 0.7 * TARGETS.numpy() + 0.3 * np.exp(logs)
    value = loss(replace(PLAIN, bootstrapping=0.3))
    assert value == pytest.approx(cross_entropy(mixed, logs), rel=1e-5)


def test_teachers_of_the_inputs_answer_the_mixed_faces() -> None:
    seen: list[Tensor] = []

    class Teacher(nn.Module):
        def forward(self, faces: Tensor) -> Tensor:
            seen.append(faces)
            return NETWORK.forward(faces).flip(1) * self.scale

        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

    torch.manual_seed(7)
    without_teachers = Objective(replace(PLAIN, mixup=1.0), WEIGHTS)(NETWORK, FACES, TARGETS).item()
    torch.manual_seed(7)
    recipe = replace(PLAIN, mixup=1.0, teaching=1.0, teachers=("a", "b"), teachers_see="inputs")
    teachers = (Teacher(1.0), Teacher(2.0))
    value = Objective(recipe, WEIGHTS, teachers)(NETWORK, FACES, TARGETS).item()
    assert value != pytest.approx(without_teachers, rel=1e-3)
    assert not torch.equal(seen[0], FACES)
    assert torch.equal(seen[0], seen[1])
    logs = log_scores(seen[0])
    first, second = np.exp(logs[:, ::-1]), np.exp(2 * logs[:, ::-1])
    mean = (first + second / second.sum(axis=1, keepdims=True)) / 2
    assert value == pytest.approx(cross_entropy(mean, logs), rel=1e-4)


def test_teachers_of_mirror_images_give_the_mean_of_both_answers() -> None:
    recipe = replace(PLAIN, teaching=1.0, teachers=("a",), teachers_see="mirrored")
    value = Objective(recipe, WEIGHTS, (NETWORK,))(NETWORK, FACES, TARGETS).item()
    mean = (np.exp(log_scores()) + np.exp(log_scores(FACES.flip(2)))) / 2
    assert value == pytest.approx(cross_entropy(mean, log_scores()), rel=1e-4)


def test_consistency_adds_the_divergence_between_mirror_images_to_the_mean_loss() -> None:
    logs, mirrored = log_scores(), log_scores(FACES.flip(2))
    both = (cross_entropy(TARGETS.numpy(), logs) + cross_entropy(TARGETS.numpy(), mirrored)) / 2
    divergence = ((np.exp(logs) - np.exp(mirrored)) * (logs - mirrored)).sum(axis=1).mean()
    assert divergence > 0.1
    value = loss(replace(PLAIN, consistency=0.5))
    assert value == pytest.approx(both + 0.5 * divergence, rel=1e-5)


def test_mixup_mixes_faces_and_targets_with_the_same_shares() -> None:
    """Least squares recovers the mixing shares from the faces that the network sees."""
    seen: list[Tensor] = []

    class RecordingNetwork(nn.Module):
        def forward(self, faces: Tensor) -> Tensor:
            seen.append(faces)
            return NETWORK.forward(faces)

    torch.manual_seed(7)
    objective = Objective(replace(PLAIN, mixup=1.0), WEIGHTS)
    value = objective(RecordingNetwork(), FACES, TARGETS).item()
    shares = torch.linalg.lstsq(FACES.flatten(1).T, seen[0].flatten(1).T).solution.T
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(5), atol=1e-4, rtol=0)
    assert 0.01 < float(shares.max(dim=1).values.min()) < 0.99
    mixed = shares.numpy() @ TARGETS.numpy()
    assert value == pytest.approx(cross_entropy(mixed, log_scores(seen[0])), rel=1e-4)
