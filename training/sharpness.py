"""Sharpness-aware minimisation: gradients at weights perturbed towards a higher loss.

After Foret et al., *Sharpness-Aware Minimization for Efficiently Improving Generalization*
(arXiv 2010.01412). It slows down the memorisation of noisy labels (section 3.3).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm


@contextmanager
def perturbed(network: nn.Module, radius: float) -> Iterator[None]:
    """Move the weights by `radius` along their gradient until the context ends.

    The gradients are cleared. Norms do not update their statistics meanwhile.

    Args:
        network: with gradients that are not all 0.
        radius: Euclidean distance, over all weights together.
    """
    weights = list(network.parameters())
    originals = [weight.detach().clone() for weight in weights]
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    scale = radius / get_total_norm(gradients)
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.add_(gradient * scale)
    for norm in norms:
        norm.momentum = 0.0
    network.zero_grad()
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, original in zip(weights, originals, strict=True):
                weight.copy_(original)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
