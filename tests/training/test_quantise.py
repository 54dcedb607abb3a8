"""The int8 network matches the float network, for any batch size and on any engine."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.training.generated import noise_faces, random_network
from training.artefact import load
from training.network import GiMeFive, logits_of, with_folded_norms
from training.quantise import (
    equalised,
    planes_of,
    quantise,
    reading_planes,
    rounded,
    without_deprecations,
)

FACES = torch.from_numpy(noise_faces("set", each=11).faces)


@pytest.fixture(scope="module")
def network() -> GiMeFive:
    return random_network()


@pytest.fixture(scope="module")
def quantised(network: GiMeFive) -> torch.jit.ScriptModule:
    return quantise(network, FACES)


def test_quantised_logits_are_close_to_float_logits(
    network: GiMeFive, quantised: torch.jit.ScriptModule
) -> None:
    exact, found = logits_of(network, FACES), logits_of(quantised, FACES)
    assert float((found - exact).square().mean().sqrt()) < 0.05 * float(exact.std())


def test_channel_equalisation_does_not_change_the_logits(network: GiMeFive) -> None:
    exact = logits_of(network, FACES)
    torch.testing.assert_close(
        logits_of(equalised(network, FACES), FACES), exact, atol=1e-4, rtol=0
    )


def test_large_channel_does_not_increase_the_quantisation_error(
    network: GiMeFive, quantised: torch.jit.ScriptModule
) -> None:
    """Without equalisation, a scale for the large channel would leave few steps to the others."""
    uneven = with_folded_norms(network)
    with torch.no_grad():
        for parameter in uneven.conv4.parameters():
            parameter[0] *= 50
        uneven.conv5.weight[:, 0] /= 50
    exact = logits_of(network, FACES)
    torch.testing.assert_close(logits_of(uneven, FACES), exact, atol=1e-3, rtol=0)
    error = logits_of(quantise(uneven, FACES), FACES) - exact
    usual = logits_of(quantised, FACES) - exact
    assert float(error.square().mean()) < 1.5 * float(usual.square().mean())


def test_equalisation_with_an_inactive_channel_does_not_change_the_logits(
    network: GiMeFive,
) -> None:
    dead = with_folded_norms(network)
    with torch.no_grad():
        for parameter in dead.conv4.parameters():
            parameter[0] = 0
        dead.conv5.weight[:, 0] = 0
    exact = logits_of(dead, FACES)
    torch.testing.assert_close(logits_of(equalised(dead, FACES), FACES), exact, atol=1e-4, rtol=0)


def test_first_layer_reads_all_grey_values_and_the_border_exactly(
    network: GiMeFive,
) -> None:
    faces = torch.arange(256, dtype=torch.uint8).repeat(16).view(1, 64, 64)
    planes = planes_of(faces)
    assert torch.equal(planes, planes.round())
    assert float(planes.max()) <= 128
    with torch.inference_mode():
        exact = network.features(faces, 1)
        torch.testing.assert_close(reading_planes(network.conv1)(planes), exact, atol=1e-4, rtol=0)


def test_rounding_has_a_lower_output_error_than_nearest_rounding(network: GiMeFive) -> None:
    with without_deprecations(), torch.inference_mode():
        first = reading_planes(network.conv1)
        planes = planes_of(FACES)
        exact = first(planes)
        weight, bias = rounded(first, planes)
        nearest = torch.quantize_per_channel(
            first.weight,
            weight.q_per_channel_scales(),
            weight.q_per_channel_zero_points(),
            0,
            torch.qint8,
        )
        error = functional.conv2d(planes, weight.dequantize(), bias, padding=1) - exact
        usual = functional.conv2d(planes, nearest.dequantize(), first.bias, padding=1) - exact
    assert float(error.square().mean()) < 0.2 * float(usual.square().mean())


def test_quantised_logits_do_not_depend_on_batch_size(quantised: torch.jit.ScriptModule) -> None:
    together = logits_of(quantised, FACES, batch=66)
    for batch in (1, 7):
        alone = logits_of(quantised, FACES, batch=batch)
        torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_quantised_network_accepts_a_channel_axis(quantised: torch.jit.ScriptModule) -> None:
    with torch.inference_mode():
        assert torch.equal(quantised(FACES[:3, None]), quantised(FACES[:3]))


@pytest.mark.parametrize("engine", ["onednn", "x86", "fbgemm"])
def test_every_engine_gives_close_logits(
    quantised: torch.jit.ScriptModule, engine: str, tmp_path: Path
) -> None:
    """Engines that add products in 16 bits would overflow with 8-bit activations.

    Engines round ties differently, which changes logits slightly. With VNNI instructions nothing
    overflows, so on such a CPU the test only compares the rounding of the engines.
    """
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"torch was built without {engine} here")
    torch.jit.save(quantised, tmp_path / "model.pt")
    found = logits_of(load(tmp_path / "model.pt", engine), FACES[:16])
    exact = logits_of(quantised, FACES[:16])
    torch.testing.assert_close(found, exact, atol=0.05 * float(exact.std()), rtol=0)


@pytest.mark.usefixtures("quantised")
def test_quantisation_does_not_modify_the_network(network: GiMeFive) -> None:
    for name, value in random_network().state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
