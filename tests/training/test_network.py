"""The network and its preprocessing are those of the paper."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.training.generated import encode_image, noise_faces, random_network
from training.data import grey_face
from training.network import GiMeFive, logits_of, with_folded_norms, with_measured_norms

FACES = torch.from_numpy(noise_faces("set", each=1).faces)


@pytest.fixture(scope="module")
def network() -> GiMeFive:
    return random_network()


def published_network(network: GiMeFive) -> nn.Sequential:
    """The layers of the paper in order, with the weights of `network`."""
    layers: list[nn.Module] = []
    for number in range(1, 6):
        layers += [getattr(network, f"conv{number}"), getattr(network, f"bn{number}")]
        layers += [nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [network.fc1, nn.ReLU(), nn.Dropout(0.5), network.fc2, nn.ReLU(), network.fc3]
    return nn.Sequential(*layers).eval()


def test_network_has_the_published_number_of_parameters() -> None:
    assert sum(p.numel() for p in GiMeFive().parameters()) == 10_478_086


def test_parameters_have_the_published_names_and_shapes(network: GiMeFive) -> None:
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    filters = [shapes[f"conv{number}.weight"] for number in range(1, 6)]
    widths = [3, 64, 128, 256, 512, 1024]
    assert filters == [(out, into, 3, 3) for into, out in pairwise(widths)]
    assert [shapes[f"fc{n}.weight"] for n in (1, 2, 3)] == [(2048, 1024), (1024, 2048), (6, 1024)]
    assert {"conv1.bias", "bn5.weight", "bn5.bias", "fc3.bias"} < set(shapes)


@torch.inference_mode()
def test_colour_image_gives_the_logits_of_the_published_pipeline(network: GiMeFive) -> None:
    rng = np.random.default_rng(1)
    blocks = rng.integers(0, 256, (9, 7, 3))
    rgb = np.kron(blocks, np.ones((12, 12, 1), dtype=int)).astype(np.uint8)

    fitted = Image.fromarray(rgb).resize((64, 64), Image.Resampling.BILINEAR).convert("L")
    three = np.stack([np.asarray(fitted, dtype=np.float32)] * 3) / 255
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normal = ((three - mean[:, None, None]) / std[:, None, None]).astype(np.float32)

    face = torch.from_numpy(np.array(grey_face(encode_image(rgb))))[None]
    torch.testing.assert_close(network.normalise(face), torch.from_numpy(normal)[None])
    torch.testing.assert_close(
        network(face), published_network(network)(torch.from_numpy(normal)[None])
    )


@pytest.mark.parametrize("layer", [1, 2, 3, 4, 5])
@torch.inference_mode()
def test_head_applied_to_features_equals_the_whole_network(network: GiMeFive, layer: int) -> None:
    maps = network.features(FACES, layer)
    side = 64 >> (layer - 1)
    assert maps.shape == (len(FACES), 64 << (layer - 1), side, side)
    assert torch.equal(network.head(maps, layer), network(FACES))


@torch.inference_mode()
def test_features_are_convolution_outputs_before_the_norm(network: GiMeFive) -> None:
    found = network.features(FACES, 2)
    first = published_network(network)[:6](network.normalise(FACES))
    torch.testing.assert_close(found, first)


@torch.inference_mode()
def test_network_accepts_a_channel_axis_and_float_faces(network: GiMeFive) -> None:
    expected = network(FACES)
    assert torch.equal(network(FACES[:, None]), expected)
    assert torch.equal(network(FACES.float()), expected)


def test_logits_of_ignores_batch_size_and_restores_training_mode(network: GiMeFive) -> None:
    network.train()
    found = logits_of(network, FACES, batch=4)
    assert network.training
    network.eval()
    with torch.inference_mode():
        torch.testing.assert_close(found, network(FACES))


@torch.inference_mode()
def test_folded_norms_keep_the_logits_and_become_identities(
    network: GiMeFive,
) -> None:
    folded = with_folded_norms(network)
    torch.testing.assert_close(folded(FACES), network(FACES), rtol=1e-4, atol=1e-4)
    for layer in range(1, 6):
        norm = network.get_submodule(f"bn{layer}")
        maps = folded.features(FACES, layer)
        torch.testing.assert_close(maps, norm(network.features(FACES, layer)), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(folded.get_submodule(f"bn{layer}")(maps), maps)


def test_measured_norms_keep_the_logits_and_normalise(network: GiMeFive) -> None:
    folded = with_folded_norms(network)
    measured = with_measured_norms(folded, FACES)
    expected = logits_of(network, FACES)
    torch.testing.assert_close(logits_of(measured, FACES), expected, atol=1e-4, rtol=1e-4)
    state = measured.state_dict()
    measured.load_state_dict(state | {"conv3.bias": state["conv3.bias"] + 5})
    measured.bn3.train()  # removes any constant offset
    torch.testing.assert_close(measured(FACES), expected, atol=1e-3, rtol=1e-3)
