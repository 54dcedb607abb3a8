"""The network is the published one, and takes what the paper's preprocessing gives."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.training.generated import encoded, lively_network, noise_faces
from training.data import grey_face
from training.network import GiMeFive, logits_of, with_folded_norms, with_measured_norms

FACES = torch.from_numpy(noise_faces("set", each=1).faces)


@pytest.fixture(scope="module")
def network() -> GiMeFive:
    return lively_network()


def as_published(network: GiMeFive) -> nn.Sequential:
    """The paper's layers in the paper's order, with the weights of `network`."""
    layers: list[nn.Module] = []
    for number in range(1, 6):
        layers += [getattr(network, f"conv{number}"), getattr(network, f"bn{number}")]
        layers += [nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [network.fc1, nn.ReLU(), nn.Dropout(0.5), network.fc2, nn.ReLU(), network.fc3]
    return nn.Sequential(*layers).eval()


def test_it_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in GiMeFive().parameters()) == 10_478_086


def test_its_parameters_have_the_published_names_and_filters(network: GiMeFive) -> None:
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    filters = [shapes[f"conv{number}.weight"] for number in range(1, 6)]
    widths = [3, 64, 128, 256, 512, 1024]
    assert filters == [(out, into, 3, 3) for into, out in pairwise(widths)]
    assert [shapes[f"fc{n}.weight"] for n in (1, 2, 3)] == [(2048, 1024), (1024, 2048), (6, 1024)]
    assert {"conv1.bias", "bn5.weight", "bn5.bias", "fc3.bias"} < set(shapes)


@torch.inference_mode()
def test_it_answers_for_a_colour_picture_as_the_paper_preprocesses_it(network: GiMeFive) -> None:
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 256, (9, 7, 3))
    rgb = np.kron(blocks, np.ones((12, 12, 1), dtype=int)).astype(np.uint8)

    fitted = Image.fromarray(rgb).resize((64, 64), Image.Resampling.BILINEAR).convert("L")
    three = np.stack([np.asarray(fitted, dtype=np.float32)] * 3) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normal = ((three - mean[:, None, None]) / std[:, None, None]).astype(np.float32)

    face = torch.from_numpy(np.array(grey_face(encoded(rgb))))[None]
    torch.testing.assert_close(network.normalise(face), torch.from_numpy(normal)[None])
    torch.testing.assert_close(network(face), as_published(network)(torch.from_numpy(normal)[None]))


@pytest.mark.parametrize("layer", [1, 2, 3, 4, 5])
@torch.inference_mode()
def test_head_after_features_is_the_whole_network(network: GiMeFive, layer: int) -> None:
    maps = network.features(FACES, layer)
    side = 64 >> (layer - 1)
    assert maps.shape == (len(FACES), 64 << (layer - 1), side, side)
    assert torch.equal(network.head(maps, layer), network(FACES))


@torch.inference_mode()
def test_features_are_the_convolution_before_its_norm(network: GiMeFive) -> None:
    found = network.features(FACES, 2)
    first = as_published(network)[:6](network.normalise(FACES))
    torch.testing.assert_close(found, first)


@torch.inference_mode()
def test_faces_may_have_a_channel_axis_and_be_floating(network: GiMeFive) -> None:
    expected = network(FACES)
    assert torch.equal(network(FACES[:, None]), expected)
    assert torch.equal(network(FACES.float()), expected)


def test_logits_do_not_depend_on_the_batch_and_leave_the_mode_alone(network: GiMeFive) -> None:
    network.train()
    found = logits_of(network, FACES, batch=4)
    assert network.training
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(found, network(FACES))


@torch.inference_mode()
def test_folding_the_norms_changes_no_answer_and_puts_zero_where_a_unit_switches_on(
    network: GiMeFive,
) -> None:
    folded = with_folded_norms(network)
    torch.testing.assert_close(folded(FACES), network(FACES), rtol=1e-4, atol=1e-4)
    for layer in range(1, 6):
        norm = network.get_submodule(f"bn{layer}")
        maps = folded.features(FACES, layer)
        torch.testing.assert_close(maps, norm(network.features(FACES, layer)), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(folded.get_submodule(f"bn{layer}")(maps), maps)


def test_measured_norms_normalise_and_change_no_answer(network: GiMeFive) -> None:
    folded = with_folded_norms(network)
    measured = with_measured_norms(folded, FACES)
    expected = logits_of(network, FACES)
    torch.testing.assert_close(logits_of(measured, FACES), expected, atol=1e-4, rtol=1e-4)
    state = measured.state_dict()
    measured.load_state_dict(state | {"conv3.bias": state["conv3.bias"] + 5})
    measured.bn3.train()  # takes any offset away again
    torch.testing.assert_close(measured(FACES), expected, atol=1e-3, rtol=1e-3)
