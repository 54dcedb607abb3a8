"""Post-training static quantisation of the network to 8-bit integers, for CPUs.

Activations use 7 bits and weights 8, with a scale per output channel. Without VNNI instructions a
CPU sums pairs of products in 16 bits, which overflow at 8 by 8 bits; with 7 they cannot. The same
file therefore gives the same answers on either kind of CPU, up to the engines' rounding.

All channels of an activation share one scale, so a channel with large values leaves few steps to
the others. Channels are therefore equalised first. The first layer reads each grey value exactly,
as the sum of two halves, and its few weights are rounded so that their errors cancel. The last
layer stays in float32: it is small, and its logits would be rounded to 128 steps.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.ao.quantization import (
    HistogramObserver,
    QConfig,
    QConfigMapping,
    default_per_channel_weight_observer,
)
from torch.ao.quantization.fx.custom_config import PrepareCustomConfig
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.nn import functional

from training.network import INPUT_SIZE, MEAN, STD, GiMeFive, logits_of, with_folded_norms

ENGINE = "onednn"
"""``torch.backends.quantized.engine`` for loading and running the file; faster than ``x86``."""

INSIDE = 127
"""Marks a pixel of the face; of the order of half a grey value, so that weights are similar."""

TINY = torch.finfo(torch.float32).tiny


class _Quantised(nn.Module):
    """From faces to logits, with `planes_of` the faces as input instead of normalised channels."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, faces: Tensor) -> Tensor:
        whole = torch.quantize_per_tensor(planes_of(faces), 1.0, 0, torch.quint8)
        logits: Tensor = self.body(whole)
        return logits


def quantise(network: GiMeFive, faces: Tensor) -> torch.jit.ScriptModule:
    """Quantise everything but the last layer.

    Args:
        network: float32; not modified.
        faces: uint8 ``[N, 64, 64]``, calibration images for the scales.

    Returns:
        A trace for any number of faces, from uint8 ``[N, 64, 64]`` or ``[N, 1, 64, 64]``, to logits
        float32 ``[N, 6]``.
    """
    torch.backends.quantized.engine = ENGINE
    inputs = planes_of(faces)
    with without_deprecations(), torch.inference_mode():
        activations = HistogramObserver.with_args(reduce_range=True)
        weights = default_per_channel_weight_observer
        choice = QConfig(activation=activations, weight=weights)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        equal = equalised(network, faces)
        equal.conv1 = first = reading_planes(equal.conv1)
        body = _body(equal)
        last = str(len(body) - 1)
        mapping = QConfigMapping().set_global(choice).set_module_name(last, None)
        whole = PrepareCustomConfig().set_input_quantized_indexes([0])
        observed = prepare_fx(body, mapping, (inputs,), whole)
        for part in torch.split(inputs, 64):
            observed(part)
        converted = convert_fx(observed)
        getattr(converted, "0").set_weight_bias(*rounded(first, inputs))
        quantised = _Quantised(converted).eval()
        traced: torch.jit.ScriptModule = torch.jit.trace(quantised, faces[:2])  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return traced


def planes_of(faces: Tensor) -> Tensor:
    """Grey values as integers up to 128, so that products with 8-bit weights cannot overflow.

    Args:
        faces: uint8 ``[N, 64, 64]`` or ``[N, 1, 64, 64]``.

    Returns:
        float32 ``[N, 3, 64, 64]``: half of the grey value rounded down, the other half, and
        `INSIDE` in every pixel, which distinguishes the face from the padding.
    """
    grey = faces.reshape(-1, INPUT_SIZE, INPUT_SIZE).float()
    half = torch.floor(grey / 2)
    return torch.stack([half, grey - half, torch.full_like(grey, INSIDE)], dim=1)


def reading_planes(convolution: nn.Conv2d) -> nn.Conv2d:
    """A convolution of `planes_of` a face, equal to `convolution` of its normalised channels."""
    mean, std = torch.tensor(MEAN), torch.tensor(STD)
    grey = torch.einsum("oiyx,i->oyx", convolution.weight, 1 / (255 * std))
    inside = torch.einsum("oiyx,i->oyx", convolution.weight, -mean / std) / INSIDE
    state = convolution.state_dict() | {"weight": torch.stack([grey, grey, inside], dim=1)}
    same = nn.Conv2d(3, convolution.out_channels, kernel_size=3, padding=1).eval()
    same.load_state_dict(state)
    return same


def rounded(convolution: nn.Conv2d, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Weights in 8 bits, rounded to minimise the output error on `inputs`, and a matching bias.

    Weights are rounded one by one, and the remaining ones compensate each error as far as their
    inputs correlate (GPTQ, Frantar et al., arXiv 2210.17323); neighbouring pixels mostly do.

    Args:
        convolution: 3x3, float32.
        inputs: float32 ``[N, C, H, W]``, typical inputs of the convolution.

    Returns:
        qint8 ``[O, C, 3, 3]`` with a scale per output, and float32 ``[O]``.
    """
    exact = convolution.weight.flatten(1)
    size = exact.shape[1]
    mean, covariance = _patches(inputs)
    covariance += 1e-6 * covariance.diagonal().mean() * torch.eye(size)
    carried = torch.linalg.cholesky(torch.linalg.inv(covariance), upper=True).float()
    scale = exact.abs().amax(dim=1).clamp_min(TINY) / 127
    whole = exact / scale[:, None]
    for at in range(size):
        error = whole[:, at] - whole[:, at].round().clamp(-127, 127)
        whole[:, at:] -= error[:, None] * carried[at, at:] / carried[at, at]
    weight = (whole.round() * scale[:, None]).view_as(convolution.weight)
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    bias = convolution.state_dict()["bias"] + (exact - weight.flatten(1)) @ mean.float()
    return torch.quantize_per_channel(weight, scale, zeros, 0, torch.qint8), bias


def _patches(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance, float64, of the patches of a 3x3 convolution's input."""
    mean, square = torch.tensor(0.0), torch.tensor(0.0)
    for part in torch.split(inputs, 64):
        patches = functional.unfold(part.double(), 3, padding=1).transpose(0, 1).flatten(1)
        mean = mean + patches.sum(dim=1)
        square = square + patches @ patches.T
    count = len(inputs) * inputs[0, 0].numel()
    mean = mean / count
    return mean, square / count - torch.outer(mean, mean)


def equalised(network: GiMeFive, faces: Tensor) -> GiMeFive:
    """The same function of faces, with the ranges of its channels equalised.

    ReLU and pooling commute with positive factors, so a layer's output channel may be divided by a
    factor if the next layer multiplies it by that factor. A factor is the square root of the
    channel's largest activation over its largest weight in the next layer, relative to the largest
    weight of each output. This moves half of the differences between channels to the weights
    (SmoothQuant, Xiao et al., 2023, with alpha 0.5).

    Args:
        network: float32, in evaluation mode; not modified.
        faces: uint8 ``[N, 64, 64]``, calibration images for the range of activations.

    Returns:
        The network with norms folded.
    """
    equal = with_folded_norms(network)
    convolutions = (equal.conv1, equal.conv2, equal.conv3, equal.conv4, equal.conv5)
    layers: tuple[nn.Conv2d | nn.Linear, ...] = (*convolutions, equal.fc1, equal.fc2, equal.fc3)
    activations = _largest_inputs(equal, layers, faces)
    with torch.no_grad():
        for before, after in pairwise(layers):
            weights = after.weight.abs()
            outputs = weights.flatten(1).amax(1).clamp_min(TINY)
            met = torch.einsum("oi...,o->io...", weights, 1 / outputs).flatten(1).amax(1)
            factor = torch.sqrt(activations[after].clamp_min(TINY) / met.clamp_min(TINY))
            factor = (factor / factor.median()).clamp(0.01, 100)
            for parameter in before.parameters():
                parameter.copy_(torch.einsum("o...,o->o...", parameter, 1 / factor))
            after.weight.copy_(torch.einsum("oi...,i->oi...", after.weight, factor))
    return equal


def _largest_inputs(
    network: GiMeFive, layers: Sequence[nn.Module], faces: Tensor
) -> dict[nn.Module, Tensor]:
    """The largest absolute value of each input channel, by layer."""
    largest: dict[nn.Module, Tensor] = {}

    def record(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].abs().transpose(0, 1).flatten(1).amax(1)
        largest[layer] = torch.maximum(values, largest.get(layer, values))

    hooks = [layer.register_forward_pre_hook(record) for layer in layers]
    logits_of(network, faces)
    for hook in hooks:
        hook.remove()
    return largest


def _body(network: GiMeFive) -> nn.Sequential:
    """The layers after normalisation as a sequence, which FX can fuse."""
    blocks: list[nn.Module] = []
    for number in range(1, 6):
        convolution = getattr(network, f"conv{number}")
        norm = getattr(network, f"bn{number}")
        blocks += [convolution, norm, nn.ReLU(), nn.MaxPool2d(2)]
    ends = [network.fc1, nn.ReLU(), network.fc2, nn.ReLU(), network.fc3]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *ends).eval()


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Silence torch's deprecation of 8-bit tensors, which the pinned version still has."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", ".*reduce_range will be deprecated", UserWarning)
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor, ", UserWarning)
        yield
