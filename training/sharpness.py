"""Weights moved to where the loss around them is highest, for the gradient there.

After Foret et al., *Sharpness-Aware Minimization for Efficiently Improving Generalization*
(arXiv 2010.01412). Noisy labels are learned by heart more slowly that way (section 3.3).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm


@contextmanager
def climbed(network: nn.Module, radius: float) -> Iterator[None]:
    """The network `radius` uphill from where it stands, until the context ends.

    Its gradients say which way is up, and are cleared. Its norms count no statistics there.

    Args:
        network: has gradients, not all 0.
        radius: Euclidean distance, over all weights together.
    """
    weights = list(network.parameters())
    stood = [weight.detach().clone() for weight in weights]
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
            for weight, before in zip(weights, stood, strict=True):
                weight.copy_(before)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
