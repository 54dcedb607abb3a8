"""Explanations compared with captum, torchcam and the papers' formulas."""

from typing import cast

import numpy as np
import pytest
import torch
from captum.attr import (  # type: ignore[import-untyped]  # captum has no types
    LayerGradCam,
    LayerGradientXActivation,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchcam.methods import GradCAM, LayerCAM

from service.errors import BadParameter
from service.explanation import LAYERS, METHODS, STRONGEST, Explanation, Question
from service.gradcam import Network, explain
from tests.formulas import FORMULAS, written_out
from training.network import GiMeFive

SIZES = {"conv1": 64, "conv2": 32, "conv3": 16, "conv4": 8, "conv5": 4}
GRADIENT_METHODS = METHODS[:4]


def random_network(seed: int) -> GiMeFive:
    """The published network with random weights and non-trivial batch norms."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = GiMeFive()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            shape = module.weight.shape
            module.weight.data = 1 + 0.3 * torch.randn(shape, generator=generator)
            module.bias.data = 0.3 * torch.randn(shape, generator=generator)
            module.running_mean = 0.1 * torch.randn(shape, generator=generator)
            module.running_var = 0.1 + 0.3 * torch.rand(shape, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def network() -> GiMeFive:
    return random_network(seed=1)


@pytest.fixture(scope="module")
def faces() -> Tensor:
    """Five smooth random grey images, uint8."""
    coarse = torch.rand(5, 1, 9, 9, generator=torch.Generator().manual_seed(2))
    smooth = functional.interpolate(coarse, size=(64, 64), mode="bicubic", align_corners=False)
    return (smooth[:, 0] * 255).clamp(0, 255).to(torch.uint8)


def heats(answers: tuple[Explanation, ...]) -> NDArray[np.float32]:
    return np.stack([answer.heat for answer in answers])


def assert_same_maps(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """Check, map by map, a cosine over 0.9999 and values within 1e-4 of the maximum."""
    assert ours.shape == theirs.shape
    assert theirs.any(), "an oracle that is all zero proves nothing"
    for one, other in zip(ours.astype(np.float64), theirs.astype(np.float64), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * other.max())
        if other.any():
            norms = np.sqrt((one**2).sum() * (other**2).sum())
            assert (one * other).sum() > 0.9999 * norms


@pytest.mark.parametrize("layer", LAYERS)
class TestAgainstOtherLibraries:
    def test_gradcam_matches_captum(self, network: GiMeFive, faces: Tensor, layer: str) -> None:
        targets = [0, 1, 2, 3, 4]
        oracle = LayerGradCam(network, getattr(network, layer))
        theirs = oracle.attribute(faces.float(), target=targets, relu_attributions=True)
        ours = explain(network, faces, [Question("gradcam", layer, t) for t in targets])
        assert_same_maps(heats(ours), theirs[:, 0].detach().numpy())

    def test_hirescam_matches_captums_gradient_times_activation(
        self, network: GiMeFive, faces: Tensor, layer: str
    ) -> None:
        oracle = LayerGradientXActivation(network, getattr(network, layer))
        theirs = oracle.attribute(faces.float(), target=5).sum(dim=1).relu()
        ours = explain(network, faces, [Question("hirescam", layer, 5)] * len(faces))
        assert_same_maps(heats(ours), theirs.detach().numpy())

    @pytest.mark.parametrize(("method", "library"), [("gradcam", GradCAM), ("layercam", LayerCAM)])
    def test_gradcam_and_layercam_match_torchcam(
        self,
        network: GiMeFive,
        faces: Tensor,
        layer: str,
        method: str,
        library: type[GradCAM] | type[LayerCAM],
    ) -> None:
        targets = [5, 4, 3, 2, 1]
        with library(network, layer) as oracle:
            (theirs,) = oracle(targets, network(faces), normalized=False)
        ours = explain(network, faces, [Question(method, layer, t) for t in targets])
        assert_same_maps(heats(ours), theirs.numpy())


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_each_method_matches_its_papers_formula_on_conv5(
    network: GiMeFive, faces: Tensor, method: str
) -> None:
    ours = explain(network, faces, [Question(method, target=2)] * len(faces))
    parts = [written_out(network, face, 2) for face in faces]
    theirs = np.stack([FORMULAS[method](a.numpy(), g.numpy()) for a, g in parts])
    assert_same_maps(heats(ours), theirs.astype(np.float32))


def test_logits_match_the_network_and_the_default_target_is_the_predicted_class(
    network: GiMeFive, faces: Tensor
) -> None:
    answers = explain(network, faces, [Question()] * len(faces))
    expected = network(faces).detach().numpy()
    np.testing.assert_allclose([answer.logits for answer in answers], expected, atol=1e-6)
    assert [answer.target for answer in answers] == expected.argmax(axis=1).tolist()
    assert [answer.logit for answer in answers] == pytest.approx(expected.max(axis=1), abs=1e-6)


def test_a_mixed_batch_gives_the_same_answers_as_single_questions(
    network: GiMeFive, faces: Tensor
) -> None:
    questions = [
        Question("gradcam", "conv5", 3),
        Question("activations", "conv2"),
        Question("layercam", "conv3", 0),
        Question("gradcam++", "conv5"),
        Question("hirescam", "conv3", 5),
    ]
    together = explain(network, faces, questions)
    for index, question in enumerate(questions):
        (alone,) = explain(network, faces[index : index + 1], [question])
        assert together[index].question == question
        assert together[index].target == alone.target
        assert together[index].heat.shape == (SIZES[question.layer], SIZES[question.layer])
        np.testing.assert_allclose(together[index].heat, alone.heat, rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(together[index].logits, alone.logits, atol=1e-5)


def test_a_frozen_torchscript_network_matches_the_eager_one(
    network: GiMeFive, faces: Tensor
) -> None:
    scripted = torch.jit.script(network)
    frozen = cast("Network", torch.jit.freeze(scripted, preserved_attrs=["features", "head"]))
    for layer in LAYERS:
        questions = [Question(method, layer, 1) for method in METHODS]
        eager = explain(network, faces, questions)
        for _ in range(3):  # torch rewrites the graph on the first calls
            assert_same_maps(heats(explain(frozen, faces, questions)), heats(eager))


class Additive:
    """A network whose two used logits are plus and minus the mean of its single feature map."""

    def features(self, faces: Tensor, _layer: int, /) -> Tensor:
        return functional.avg_pool2d(faces.float()[:, None] / 255, 16)

    def head(self, maps: Tensor, _layer: int, /) -> Tensor:
        mean = maps.mean(dim=(1, 2, 3))
        return torch.stack([mean, -mean, *[torch.zeros_like(mean)] * 4], dim=1)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_without_evidence_for_the_target_the_map_is_zero_and_marked_empty(
    method: str, faces: Tensor
) -> None:
    for target in (1, 2):  # negative evidence, and no connection at all
        (answer,) = explain(Additive(), faces[:1] | 1, [Question(method, target=target)])
        assert answer.empty
        assert answer.maximum == 0.0
        assert answer.heat.tolist() == np.zeros((4, 4)).tolist()


def test_gradcam_of_an_averaging_network_is_its_feature_map_over_the_cell_count() -> None:
    face = torch.zeros(1, 64, 64, dtype=torch.uint8)
    face[0, 16:32, 32:48] = 255
    (answer,) = explain(Additive(), face, [Question("gradcam", target=0)])
    expected = np.zeros((4, 4))
    expected[1, 2] = 1 / 16
    np.testing.assert_allclose(answer.heat, expected)
    assert not answer.empty
    assert answer.maximum == pytest.approx(1 / 16)


class Halved:
    """A half-precision network, the sum of whose map's cells exceeds the range of float16."""

    def features(self, faces: Tensor, _layer: int, /) -> Tensor:
        return (faces[:, None] / 255 * 60).half()

    def head(self, maps: Tensor, _layer: int, /) -> Tensor:
        mean = maps.mean(dim=(1, 2, 3))
        return torch.stack([mean, -mean, *[torch.zeros_like(mean)] * 4], dim=1)


class Full(Halved):
    """The same in full precision."""

    def features(self, faces: Tensor, _layer: int, /) -> Tensor:
        return super().features(faces, _layer).float()


@pytest.mark.parametrize("method", METHODS)
def test_maps_of_a_half_precision_network_are_computed_in_full_precision(
    method: str, faces: Tensor
) -> None:
    question = Question(method, target=0)
    (halved,), (full,) = (explain(each, faces[:1], [question]) for each in (Halved(), Full()))
    assert not full.empty
    np.testing.assert_allclose(halved.heat, full.heat, rtol=1e-3)
    assert halved.heat.dtype == halved.logits.dtype == np.float32
    if halved.features is not None:
        assert halved.features.maps.dtype == np.float32


def test_activations_are_the_mean_activation_and_the_strongest_channels(
    network: GiMeFive, faces: Tensor
) -> None:
    (answer,) = explain(network, faces[:1], [Question("activations", "conv4")])
    with torch.no_grad():
        fires = network.features(faces[:1], 4)[0].clamp(min=0).numpy()
    np.testing.assert_allclose(answer.heat, fires.mean(axis=0), rtol=1e-5)
    assert answer.features is not None
    strength = fires.mean(axis=(1, 2))
    assert set(answer.features.channels) == set(np.argsort(strength)[-STRONGEST:])
    assert (np.diff(strength[answer.features.channels]) <= 0).all()
    np.testing.assert_allclose(answer.features.maps, fires[answer.features.channels])
    assert (len(answer.features.channels), answer.features.total) == (16, 512)


def test_a_batch_of_activations_and_another_method_has_for_each_face_its_own_maps(
    network: GiMeFive, faces: Tensor
) -> None:
    gradcam, *answers = explain(
        network, faces, [Question("gradcam", "conv2", 3), *[Question("activations", "conv2")] * 4]
    )
    oracle = LayerGradCam(network, network.conv2)
    theirs = oracle.attribute(faces[:1].float(), target=3, relu_attributions=True)
    assert_same_maps(gradcam.heat[None], theirs[:, 0].detach().numpy())
    assert gradcam.features is None
    with torch.no_grad():
        fires = network.features(faces, 2).clamp(min=0).numpy()
    for answer, own in zip(answers, fires[1:], strict=True):
        np.testing.assert_allclose(answer.heat, own.mean(axis=0), rtol=1e-5)
        assert answer.features is not None
        np.testing.assert_allclose(answer.features.maps, own[answer.features.channels])


class Counting(GiMeFive):
    """The network, which counts how often each part runs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = {"features": 0, "head": 0}

    def features(self, faces: Tensor, layer: int) -> Tensor:
        self.calls["features"] += 1
        return super().features(faces, layer)

    def head(self, maps: Tensor, layer: int) -> Tensor:
        self.calls["head"] += 1
        return super().head(maps, layer)


def test_questions_about_one_layer_share_one_pass_whatever_their_method(faces: Tensor) -> None:
    network = Counting().eval()
    questions = [Question(method, "conv4", target) for target, method in enumerate(METHODS)]
    explain(network, faces, questions)
    assert network.calls == {"features": 1, "head": 1}


def test_explaining_works_under_no_grad_and_leaves_no_gradients(
    network: GiMeFive, faces: Tensor
) -> None:
    with torch.no_grad():
        explain(network, faces, [Question()] * len(faces))
        assert not torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in network.parameters())


def rank_correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    first, second = (np.argsort(np.argsort(heat.ravel())).astype(float) for heat in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


@pytest.mark.parametrize(
    "question",
    [Question("gradcam", "conv3", 0), Question("hirescam", "conv3", 0), Question("hirescam")],
)
def test_maps_depend_on_the_weights(network: GiMeFive, faces: Tensor, question: Question) -> None:
    """The sanity check of Adebayo et al. (2018, arXiv 1810.03292): no edge detector in disguise."""
    questions = [question] * len(faces)
    maps = heats(explain(network, faces, questions))
    others = heats(explain(random_network(seed=9), faces, questions))
    pairs = zip(maps, others, strict=True)
    assert abs(np.mean([rank_correlation(one, other) for one, other in pairs])) < 0.4
    again = heats(explain(random_network(seed=1), faces, questions))
    assert min(rank_correlation(*pair) for pair in zip(maps, again, strict=True)) > 0.99


@pytest.mark.parametrize(
    "arguments",
    [{"method": "gradcam+"}, {"layer": "conv6"}, {"layer": "5"}, {"target": 6}, {"target": -1}],
)
def test_an_invalid_question_is_refused_with_the_valid_values(arguments: dict[str, object]) -> None:
    with pytest.raises(BadParameter, match=r"is one of .*conv|is one of .*gradcam|is 0 to 5"):
        Question(**arguments)  # type: ignore[arg-type]  # wrong on purpose
