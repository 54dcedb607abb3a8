"""Augmentation of whole batches, with one generator as the only source of randomness."""

from math import pi
from typing import Annotated

import torch
from pydantic import ConfigDict, Field, NonNegativeFloat
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional

SIGMA = 2.0
"""The strongest blur: a Gaussian's standard deviation, in pixels of a 64x64 face."""

Fraction = Annotated[float, Field(ge=0, le=1)]
EXACTLY = ConfigDict(extra="forbid")
"""An unknown field is an error."""


@dataclass(frozen=True, config=EXACTLY)
class Augmentation:
    """The strength of each augmentation; amounts are drawn uniformly from -x to +x.

    Attributes:
        flip: probability of a mirror image.
        rotation: degrees.
        scale: as a share of the face's size.
        shift: as a share of the face's side, in x and y.
        contrast: as a share of the contrast.
        brightness: as a share of the full range.
        erasing: probability that a rectangle (2 to 20% of the area) is painted over.
        blur: probability of a blur of up to `SIGMA` pixels of 64.
    """

    flip: Fraction = 0.5
    rotation: NonNegativeFloat = 12.0
    scale: Fraction = 0.12
    shift: Fraction = 0.06
    contrast: Fraction = 0.3
    brightness: Fraction = 0.15
    erasing: Fraction = 0.3
    blur: Fraction = 0.0

    def __call__(self, faces: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
        """Augment a batch.

        Args:
            faces: uint8 ``[N, H, W]``.
            pixels: the side of the result; resizing is part of the same resampling.
            generator: the only source of randomness, on the device of `faces`.

        Returns:
            float32 ``[N, pixels, pixels]``, values 0 to 255.
        """

        def draw(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=faces.device)

        n = len(faces)
        moved = _resample(faces, self._motion(n, draw(5, n)), pixels)
        contrast = 1 + self.contrast * (2 * draw(n, 1, 1) - 1)
        brightness = 255 * self.brightness * (2 * draw(n, 1, 1) - 1)
        mean = moved.mean(dim=(1, 2), keepdim=True)
        lit = ((moved - mean) * contrast + mean + brightness).clamp(0, 255)
        painted = torch.where(self._erased(pixels, draw(6, n)), 255 * draw(n, 1, 1), lit)
        return _blurred(painted, self._sigmas(pixels, draw(2, n))) if self.blur else painted

    def _motion(self, n: int, draws: Tensor) -> Tensor:
        """Affine matrices ``[N, 2, 3]`` from five rows of uniform draws."""
        angle = (2 * draws[0] - 1) * self.rotation * pi / 180
        size = 1 + self.scale * (2 * draws[1] - 1)
        mirror = torch.where(draws[2] < self.flip, -1.0, 1.0)
        shift = 2 * self.shift * (2 * draws[3:5] - 1)
        cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
        rows = [cos * mirror, -sin, shift[0], sin * mirror, cos, shift[1]]
        return torch.stack(rows, dim=1).view(n, 2, 3)

    def _sigmas(self, pixels: int, draws: Tensor) -> Tensor:
        """The blur of each face in pixels, ``[N]``; 0 for none."""
        return torch.where(draws[0] < self.blur, draws[1] * SIGMA * pixels / 64, 0)

    def _erased(self, pixels: int, draws: Tensor) -> Tensor:
        """Masks ``[N, pixels, pixels]``, true where the image is erased."""
        area = 0.02 + 0.18 * draws[0]
        aspect = torch.exp((2 * draws[1] - 1) * 1.1)
        height, width = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        top, left = draws[2] * (1 - height), draws[3] * (1 - width)
        at = (torch.arange(pixels, device=draws.device) + 0.5) / pixels
        rows = (at > top[:, None]) & (at < (top + height)[:, None])
        columns = (at > left[:, None]) & (at < (left + width)[:, None])
        chosen = draws[4] < self.erasing
        return rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]


def resize(faces: Tensor, pixels: int) -> Tensor:
    """Faces ``[N, H, W]`` resized to float32 ``[N, pixels, pixels]``, values 0 to 255."""
    if faces.shape[-1] == pixels:
        return faces.float()
    size = (pixels, pixels)
    resized = functional.interpolate(
        faces[:, None].float(), size, mode="bilinear", align_corners=False, antialias=True
    )
    return resized[:, 0]


def _blurred(faces: Tensor, sigmas: Tensor) -> Tensor:
    """Each face blurred by its own Gaussian, along columns and then along rows."""
    reach = 5
    at = torch.arange(-reach, reach + 1, device=faces.device)
    weights = torch.exp(-((at / sigmas.clamp(min=0.01)[:, None]) ** 2) / 2)
    weights = (weights / weights.sum(dim=1, keepdim=True))[:, None]
    rows = functional.pad(faces[None], (reach, reach, reach, reach), mode="replicate")
    columns = functional.conv2d(rows, weights[..., None], groups=len(faces))
    return functional.conv2d(columns, weights[:, :, None], groups=len(faces))[0]


def _resample(faces: Tensor, motion: Tensor, pixels: int) -> Tensor:
    grid = functional.affine_grid(motion, [len(faces), 1, pixels, pixels], align_corners=False)
    moved = functional.grid_sample(
        faces[:, None].float(), grid, padding_mode="border", align_corners=False
    )
    return moved[:, 0]
