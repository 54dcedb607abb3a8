"""The network in 8-bit integers, for processors: static quantisation after training.

Activations take 7 bits and weights 8, per output channel. Without VNNI instructions a processor
sums pairs of products in 16 bits, which overflow at 8 by 8; with 7 bits they cannot, so the same
file gives the same answers on either kind of processor, but for how engines round.

All channels of an activation share one scale, so that one with large values leaves few steps to
the others. Before quantising, channels are made to resemble each other. The last layer stays in
float32: it is small, and its logits would be rounded to 128 steps.
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
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

from training.network import INPUT_SIZE, GiMeFive, logits_of, with_folded_norms

ENGINE = "onednn"
"""``torch.backends.quantized.engine`` while the file is loaded; quicker than ``x86`` here."""

TINY = torch.finfo(torch.float32).tiny


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
    """Quantise everything between the normalisation and the last layer.

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
        body = _body(evened(network, faces))
        last = str(len(body) - 1)
        mapping = QConfigMapping().set_global(choice).set_module_name(last, None)
        observed = prepare_fx(body, mapping, (inputs,))
        for part in torch.split(inputs, 64):
            observed(part)
        quantised = nn.Sequential(normalise, convert_fx(observed)).eval()
        traced: torch.jit.ScriptModule = torch.jit.trace(quantised, faces[:2])  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return traced


def evened(network: GiMeFive, faces: Tensor) -> GiMeFive:
    """The same function of faces, its channels evened out between the layers.

    ReLU and pooling let a positive factor through, so that a layer may give a channel divided by it
    if the next one takes it times that factor. Factors are the root of the largest activation over
    the largest weight that meets it, the weights of each output counted from their largest: half of
    what sets channels apart goes to the weights (SmoothQuant, Xiao et al., 2023, with alpha 0.5).

    Args:
        network: float32, in evaluation mode; it stays as it is.
        faces: uint8 ``[N, 64, 64]``, training images that show how large activations become.

    Returns:
        The network with norms folded.
    """
    even = with_folded_norms(network)
    convolutions = (even.conv1, even.conv2, even.conv3, even.conv4, even.conv5)
    layers: tuple[nn.Conv2d | nn.Linear, ...] = (*convolutions, even.fc1, even.fc2, even.fc3)
    activations = _largest_inputs(even, layers, faces)
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
    return even


def _largest_inputs(
    network: GiMeFive, layers: Sequence[nn.Module], faces: Tensor
) -> dict[nn.Module, Tensor]:
    """The largest value of each input channel, by layer."""
    largest: dict[nn.Module, Tensor] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor]) -> None:
        values = inputs[0].abs().transpose(0, 1).flatten(1).amax(1)
        largest[layer] = torch.maximum(values, largest.get(layer, values))

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    logits_of(network, faces)
    for hook in hooks:
        hook.remove()
    return largest


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
