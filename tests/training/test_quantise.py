"""The 8-bit network answers as the network does, for any batch, on any kind of processor."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.training.generated import lively_network, noise_faces
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
    return lively_network()


@pytest.fixture(scope="module")
def quantised(network: GiMeFive) -> torch.jit.ScriptModule:
    return quantise(network, FACES)


def test_its_logits_are_close_to_those_of_the_network(
    network: GiMeFive, quantised: torch.jit.ScriptModule
) -> None:
    exact, found = logits_of(network, FACES), logits_of(quantised, FACES)
    assert float((found - exact).square().mean().sqrt()) < 0.05 * float(exact.std())


def test_equalising_the_channels_changes_no_answer(network: GiMeFive) -> None:
    exact = logits_of(network, FACES)
    torch.testing.assert_close(
        logits_of(equalised(network, FACES), FACES), exact, atol=1e-4, rtol=0
    )


def test_a_channel_much_larger_than_the_others_costs_them_nothing(
    network: GiMeFive, quantised: torch.jit.ScriptModule
) -> None:
    """Without evening out, all the others would share what few steps that one leaves them."""
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


def test_a_channel_that_never_switches_on_is_no_trouble(network: GiMeFive) -> None:
    dead = with_folded_norms(network)
    with torch.no_grad():
        for parameter in dead.conv4.parameters():
            parameter[0] = 0
        dead.conv5.weight[:, 0] = 0
    exact = logits_of(dead, FACES)
    torch.testing.assert_close(logits_of(equalised(dead, FACES), FACES), exact, atol=1e-4, rtol=0)


def test_the_first_layer_reads_all_256_grey_values_exactly_and_the_border_too(
    network: GiMeFive,
) -> None:
    faces = torch.arange(256, dtype=torch.uint8).repeat(16).view(1, 64, 64)
    planes = planes_of(faces)
    assert torch.equal(planes, planes.round())
    assert float(planes.max()) <= 128
    with torch.inference_mode():
        exact = network.features(faces, 1)
        torch.testing.assert_close(reading_planes(network.conv1)(planes), exact, atol=1e-4, rtol=0)


def test_rounding_errors_cancel_on_what_a_convolution_sees(network: GiMeFive) -> None:
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


def test_an_answer_does_not_depend_on_its_batch(quantised: torch.jit.ScriptModule) -> None:
    together = logits_of(quantised, FACES, batch=66)
    for batch in (1, 7):
        alone = logits_of(quantised, FACES, batch=batch)
        torch.testing.assert_close(alone, together, atol=1e-5, rtol=0)


def test_faces_may_have_a_channel_axis(quantised: torch.jit.ScriptModule) -> None:
    with torch.inference_mode():
        assert torch.equal(quantised(FACES[:3, None]), quantised(FACES[:3]))


@pytest.mark.parametrize("engine", ["onednn", "x86", "fbgemm"])
def test_every_engine_gives_the_same_answers(
    quantised: torch.jit.ScriptModule, engine: str, tmp_path: Path
) -> None:
    """Where an engine adds products in 16 bits, activations of 8 bits would overflow and differ.

    Engines round ties differently, which moves a logit by little. On a processor with VNNI
    instructions nothing overflows, so there this only says that the engines are close.
    """
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"torch was built without {engine} here")
    torch.jit.save(quantised, tmp_path / "model.pt")
    found = logits_of(load(tmp_path / "model.pt", engine), FACES[:16])
    exact = logits_of(quantised, FACES[:16])
    torch.testing.assert_close(found, exact, atol=0.05 * float(exact.std()), rtol=0)


@pytest.mark.usefixtures("quantised")
def test_the_network_itself_is_left_alone(network: GiMeFive) -> None:
    for name, value in lively_network().state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
