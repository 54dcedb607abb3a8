"""The network that only teaches."""

import pytest
import torch

from training.residual import Block, Residual


def test_network_has_the_parameters_of_a_resnet_18_for_grey_faces_and_six_emotions() -> None:
    convolutions = [p.numel() for p in Residual().parameters() if p.dim() == 4]
    assert len(convolutions) == 1 + 16 + 3  # stem, two per block, and a shortcut where width grows
    assert sum(p.numel() for p in Residual().parameters()) == 11_170_758


@pytest.mark.parametrize("pixels", [48, 64])
def test_network_answers_grey_faces_of_either_training_resolution(pixels: int) -> None:
    faces = torch.randint(0, 256, (3, pixels, pixels), dtype=torch.uint8)
    network = Residual().eval()
    logits = network(faces)
    assert logits.shape == (3, 6)
    torch.testing.assert_close(network(faces.float())[1:2], logits[1:2])


def test_an_untrained_block_passes_its_input_on() -> None:
    maps = torch.rand(2, 8, 6, 6)
    torch.testing.assert_close(Block(8, 8, stride=1)(maps), maps)
    assert Block(8, 16, stride=2)(maps).shape == (2, 16, 3, 3)
