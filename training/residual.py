"""A deeper network that only teaches: the service runs none of its files.

ResNet-18 (He et al., *Deep Residual Learning for Image Recognition*, arXiv 1512.03385) for faces of
64x64 pixels: its first convolution has a stride of 2, and no pooling follows.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.network import EMOTIONS

WIDTHS = (64, 128, 256, 512)
BLOCKS = 2
"""Blocks of each width."""

MEAN, STD = 0.45, 0.226
"""Of grey values from 0 to 1, about those that `GiMeFive` uses."""


class Block(nn.Module):
    """Two convolutions whose result is added to their input."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        nn.init.zeros_(self.bn2.weight)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.extend(
                (nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``[N, width, h / stride, w / stride]`` from maps ``[N, channels, h, w]``."""
        inner = functional.relu(self.bn1(self.conv1(maps)), inplace=True)
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(maps), inplace=True)


class Residual(nn.Module):
    """A ResNet-18: 11,170,758 parameters.

    Attributes:
        dropout: after each width.
        dropout_fc: before the last layer.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTHS[0], 3, 2, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(WIDTHS[0])
        self.dropout = nn.Dropout(0.2)
        self.dropout_fc = nn.Dropout(0.5)
        layers: list[nn.Module] = []
        channels = WIDTHS[0]
        for width in WIDTHS:
            for number in range(BLOCKS):
                stride = 2 if number == 0 and width > WIDTHS[0] else 1
                layers.append(Block(channels, width, stride))
                channels = width
            layers.append(self.dropout)
        self.blocks = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, len(EMOTIONS))

    def forward(self, faces: Tensor) -> Tensor:
        """Logits ``[N, 6]`` of grey faces ``[N, H, W]``, values 0 to 255."""
        grey = (faces[:, None].to(self.fc.weight.dtype) / 255 - MEAN) / STD
        # one channel has no layout of its own, so the stem would ignore that of the weights
        maps = self.stem(grey).contiguous(memory_format=torch.channels_last)
        maps = functional.relu(self.bn(maps), inplace=True)
        logits: Tensor = self.fc(self.dropout_fc(self.blocks(maps).mean(dim=(2, 3))))
        return logits
