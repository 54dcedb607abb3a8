"""The network in 8-bit integers, for processors: static quantisation after training.

Activations take 7 bits and weights 8, per output channel. Without VNNI instructions a processor
sums pairs of products in 16 bits, which overflow at 8 by 8; with 7 bits they cannot, so the same
file gives the same answers on either kind of processor.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.ao.quantization import (
    HistogramObserver,
    QConfig,
    QConfigMapping,
    default_per_channel_weight_observer,
)
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from training.network import INPUT_SIZE, GiMeFive

ENGINE = "onednn"
"""``torch.backends.quantized.engine`` while the file is loaded; quicker than ``x86`` here."""


class _Normalise(nn.Module):
    """The network's `normalise` in a form that traces for faces with and without a channel axis."""

    def __init__(self, network: GiMeFive) -> None:
        super().__init__()
        self.mean = network.mean
        self.std = network.std

    def forward(self, faces: Tensor) -> Tensor:
        grey = faces.reshape(-1, INPUT_SIZE, INPUT_SIZE).float() / 255.0
        channels = zip(self.mean, self.std, strict=True)
        return torch.stack([(grey - mean) / std for mean, std in channels], dim=1)


def quantise(network: GiMeFive, faces: Tensor) -> torch.jit.ScriptModule:
    """Quantise everything behind the normalisation.

    Args:
        network: float32; it stays as it is.
        faces: uint8 ``[N, 64, 64]``, training images that show how large activations become.

    Returns:
        A trace for any number of faces, uint8 ``[N, 64, 64]`` or ``[N, 1, 64, 64]``, to logits
        float32 ``[N, 6]``.
    """
    torch.backends.quantized.engine = ENGINE
    normalise = _Normalise(network)
    inputs = normalise(faces)
    with without_deprecations(), torch.inference_mode():
        activations = HistogramObserver.with_args(reduce_range=True)
        weights = default_per_channel_weight_observer
        choice = QConfig(activation=activations, weight=weights)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        mapping = QConfigMapping().set_global(choice)
        observed = prepare_fx(_body(network), mapping, (inputs,))
        for part in torch.split(inputs, 64):
            observed(part)
        quantised = nn.Sequential(normalise, convert_fx(observed)).eval()
        traced: torch.jit.ScriptModule = torch.jit.trace(quantised, faces[:2])  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return traced


def _body(network: GiMeFive) -> nn.Sequential:
    """What follows the normalisation in evaluation mode, as the plain chain that FX can fuse."""
    blocks: list[nn.Module] = []
    for number in range(1, 6):
        convolution = getattr(network, f"conv{number}")
        norm = getattr(network, f"bn{number}")
        blocks += [convolution, norm, nn.ReLU(), nn.MaxPool2d(2)]
    ends = [network.fc1, nn.ReLU(), network.fc2, nn.ReLU(), network.fc3]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *ends).eval()


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Silence what torch says about the end of its 8-bit tensors; the pinned version has them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", ".*reduce_range will be deprecated", UserWarning)
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor, ", UserWarning)
        yield
