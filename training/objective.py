"""The loss that every step of a run minimises."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn import functional

from training.recipe import Recipe


@dataclass(frozen=True)
class Objective:
    """The loss of a recipe.

    Attributes:
        recipe: selects the terms.
        class_weights: float32 ``[6]``, on the device of the faces.
        teachers: networks from faces to logits, in evaluation mode. Their mean probabilities for
            the inputs, or for these and their mirror images, are mixed into the targets.
    """

    recipe: Recipe
    class_weights: Tensor
    teachers: Sequence[nn.Module] = ()

    def __call__(self, network: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The loss of a batch, a scalar; randomness comes from torch's global generator.

        Args:
            network: maps faces to logits.
            inputs: augmented faces, float32 ``[N, H, W]``.
            targets: target probabilities, float32 ``[N, 6]``.
        """
        recipe = self.recipe
        if recipe.mixup:
            inputs, targets = _mixed(inputs, targets, recipe.mixup)
        if self.teachers:
            targets = targets.lerp(self._taught(inputs), recipe.teaching)
        if recipe.consistency:
            inputs, targets = torch.cat((inputs, inputs.flip(-1))), targets.repeat(2, 1)
        logits = network(inputs).float()
        if recipe.bootstrapping:
            targets = targets.lerp(logits.detach().softmax(dim=1), recipe.bootstrapping)
        loss = functional.cross_entropy(
            logits, targets, self.class_weights, label_smoothing=recipe.label_smoothing
        )
        if recipe.consistency:
            loss = loss + recipe.consistency * _divergence(*logits.log_softmax(dim=1).chunk(2))
        return loss

    def _taught(self, inputs: Tensor) -> Tensor:
        mirrored = self.recipe.teachers_see == "mirrored"
        views = (inputs, inputs.flip(-1)) if mirrored else (inputs,)
        with torch.no_grad():
            logits = [teacher(view).float() for teacher in self.teachers for view in views]
        return torch.stack(logits).softmax(dim=2).mean(dim=0)


def _mixed(inputs: Tensor, targets: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Mixup: each face and its target mixed with another's (Zhang et al., arXiv 1710.09412)."""
    share = float(Beta(strength, strength).sample())
    other = torch.randperm(len(inputs), device=inputs.device)
    return inputs.lerp(inputs[other], share), targets.lerp(targets[other], share)


def _divergence(some: Tensor, others: Tensor) -> Tensor:
    """The symmetric Kullback-Leibler divergence of log-probabilities, averaged over the batch."""
    return ((some.exp() - others.exp()) * (some - others)).sum(dim=1).mean()
