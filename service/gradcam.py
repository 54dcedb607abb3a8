"""Grad-CAM and related methods: pure functions of a network and a batch of faces.

Each method weights the feature maps A of one convolution by the gradient G of the target's logit
with respect to them, and keeps the positive part:

===========  =====================================  =============================================
gradcam      relu(sum_k mean(G_k) A_k)              Selvaraju et al., 2017, arXiv 1610.02391
gradcam++    sum_k sum(a_k relu(G_k)) relu(A_k)     Chattopadhay et al., 2018, arXiv 1710.11063
layercam     relu(sum_k relu(G_k) A_k)              Jiang et al., 2021, doi 10.1109/TIP.2021.3089943
hirescam     relu(sum_k G_k A_k)                    Draelos and Carin, 2020, arXiv 2011.08891
activations  mean_k relu(A_k)                       no gradient: what fires, whatever the target
===========  =====================================  =============================================

Grad-CAM++ assumes rectified maps, and none of its weights is negative. Layers are explained before
their batch norm and ReLU, so Grad-CAM++ is given the positive part of the maps; otherwise the
negative values of all channels together would leave almost every face with an empty map.

Instead of using hooks, which TorchScript does not support, the network is split at the layer; no
state is kept between calls.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from service.explanation import LAYERS, STRONGEST, Explanation, Features, Question


class Network(Protocol):
    """A classifier that can be split at a convolution; eager or TorchScript, in eval mode."""

    def features(self, faces: Tensor, layer: int, /) -> Tensor:
        """The output ``[N, C, h, w]`` of convolution `layer` (1 to 5) before its batch norm."""

    def head(self, maps: Tensor, layer: int, /) -> Tensor:
        """The logits ``[N, 6]`` that follow from what `features` gave."""


def explain(
    network: Network, faces: Tensor, questions: Sequence[Question]
) -> tuple[Explanation, ...]:
    """Explain each face as its own question asks.

    Faces with the same layer share one forward and at most one backward pass, whatever their
    methods and targets: a face's logits depend on that face alone, so the gradient of the sum of
    all targets' logits contains the gradient of each.

    Args:
        network: the classifier, in eval mode.
        faces: uint8 ``[N, 64, 64]``, grey, on the network's device.
        questions: one per face.

    Returns:
        One explanation per face, in order; finite if the network's outputs are.
    """
    answers: dict[int, Explanation] = {}
    for layer in LAYERS:
        asked = [index for index, question in enumerate(questions) if question.layer == layer]
        if asked:
            chosen = [questions[index] for index in asked]
            answers |= zip(asked, _explain_layer(network, faces[asked], chosen), strict=True)
    return tuple(answers[index] for index in range(len(questions)))


def _explain_layer(
    network: Network, faces: Tensor, questions: Sequence[Question]
) -> list[Explanation]:
    """Answer questions that all ask for one layer."""
    layer = LAYERS.index(questions[0].layer) + 1
    with torch.no_grad():
        maps = network.features(faces, layer)
    needs_gradient = any(question.method != "activations" for question in questions)
    with torch.set_grad_enabled(needs_gradient):
        logits = network.head(maps.requires_grad_(needs_gradient), layer)
        targets = [
            predicted if question.target is None else question.target
            for question, predicted in zip(questions, logits.argmax(dim=1).tolist(), strict=True)
        ]
        evidence = logits[range(len(targets)), targets].sum()
    gradients = torch.zeros_like(maps)
    if needs_gradient:
        (gradients,) = torch.autograd.grad(evidence, maps)
    maps = maps.detach()
    heats = _heats([question.method for question in questions], maps, gradients).cpu().numpy()
    rows = logits.detach().float().cpu().numpy()
    return [
        Explanation(
            question=question,
            target=targets[index],
            logits=rows[index],
            heat=heats[index],
            features=_strongest(maps[index]) if question.method == "activations" else None,
        )
        for index, question in enumerate(questions)
    ]


def _heats(methods: Sequence[str], maps: Tensor, gradients: Tensor) -> Tensor:
    """A map for each face, ``[N, h, w]``, from maps and gradients ``[N, C, h, w]``."""
    heats = torch.empty_like(maps[:, 0], dtype=torch.float32)
    for method in set(methods):
        rows = [index for index, each in enumerate(methods) if each == method]
        heats[rows] = _heat(method, maps[rows].float(), gradients[rows].float())
    return heats


def _heat(method: str, maps: Tensor, gradients: Tensor) -> Tensor:
    match method:
        case "gradcam":
            weights = gradients.mean(dim=(2, 3), keepdim=True)
        case "gradcam++":
            maps = maps.relu()
            weights = (_alpha(maps, gradients) * gradients.relu()).sum(dim=(2, 3), keepdim=True)
        case "layercam":
            weights = gradients.relu()
        case "hirescam":
            weights = gradients
        case _:
            return maps.relu().mean(dim=1)
    return (weights * maps).sum(dim=1).relu()


def _alpha(maps: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++'s alpha ``[N, C, h, w]``: equation 19 of its paper, for an exponential score.

    ``G^2 / (2 G^2 + sum(A) G^3)`` equals ``1 / (2 + sum(A) G)`` wherever G is not 0; where G is not
    positive, alpha does not matter. This form needs no epsilon, which would dwarf the small
    gradients of this network.
    """
    return 1 / (2 + maps.sum(dim=(2, 3), keepdim=True) * gradients.relu())


def _strongest(maps: Tensor) -> Features:
    """The feature maps of one face, ``[C, h, w]``, with the highest mean of positive values."""
    positive = maps.float().relu()
    channels = positive.mean(dim=(1, 2)).argsort(descending=True, stable=True)[:STRONGEST]
    return Features(
        maps=positive[channels].cpu().numpy(),
        channels=channels.cpu().numpy(),
        total=len(positive),
    )
