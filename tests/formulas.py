"""The methods as in their papers' formulas, and the network from its weights alone, in float64."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.network import GiMeFive


def written_out(network: GiMeFive, face: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """conv5's output and the gradient of the target's logit with respect to it, in float64."""
    weights = {name: value.double() for name, value in network.state_dict().items()}
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    channels = [(face.double() / 255 - m) / s for m, s in zip(mean, std, strict=True)]
    signal = torch.stack(channels)[None]
    for block in range(1, 6):
        maps = functional.conv2d(
            signal, weights[f"conv{block}.weight"], weights[f"conv{block}.bias"], padding=1
        )
        maps = maps.detach().requires_grad_(True)
        shift, scale = weights[f"bn{block}.running_mean"], weights[f"bn{block}.running_var"]
        normed = (maps - shift[:, None, None]) / (scale[:, None, None] + 1e-5).sqrt()
        normed = normed * weights[f"bn{block}.weight"][:, None, None]
        signal = functional.max_pool2d(
            (normed + weights[f"bn{block}.bias"][:, None, None]).relu(), 2
        )
    hidden = signal.mean(dim=(2, 3))
    for layer in ("fc1", "fc2"):
        hidden = (hidden @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]).relu()
    logits = hidden @ weights["fc3.weight"].T + weights["fc3.bias"]
    (gradient,) = torch.autograd.grad(logits[0, target], maps)
    return maps.detach()[0], gradient[0]


def gradcam(maps: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    heat = np.zeros(maps.shape[1:])
    for channel, slope in zip(maps, gradient, strict=True):
        heat += slope.mean() * channel
    return np.maximum(heat, 0)


def gradcam_plus_plus(
    maps: NDArray[np.float64], gradient: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Equations 5, 16 and 19 of arXiv 1710.11063, which assumes rectified maps."""
    heat = np.zeros(maps.shape[1:])
    for channel, slope in zip(np.maximum(maps, 0), gradient, strict=True):
        weight = sum(g**2 / (2 * g**2 + channel.sum() * g**3) * g for g in slope[slope > 0])
        heat += weight * channel
    return np.maximum(heat, 0)


def layercam(maps: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum((np.maximum(gradient, 0) * maps).sum(axis=0), 0))


def hirescam(maps: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.maximum((gradient * maps).sum(axis=0), 0))


Formula = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]
FORMULAS: dict[str, Formula] = {
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "layercam": layercam,
    "hirescam": hirescam,
}
