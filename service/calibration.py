"""From logits to scores that are right as often as they say."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

FloatT = TypeVar("FloatT", bound=np.floating)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Adaptive temperature scaling: each face's logits are divided by a temperature of its own.

    It is ``temperature / spread**exponent``, where the spread is the standard deviation of the
    face's logits. The most probable class stays the same. Guo et al. (arXiv 1706.04599) have one
    temperature for all faces; Balanya et al. (arXiv 2208.00461) compare functions of the logits.

    Attributes:
        temperature: above 0.
        exponent: 0 for one temperature for all faces; above 0, the scores of logits that spread
            further get sharper.
    """

    temperature: float
    exponent: float = 0.0

    def scale(self, logits: NDArray[FloatT]) -> NDArray[FloatT]:
        """Logits ``[..., K]`` divided by their temperatures, in the same dtype."""
        spread = logits.std(axis=-1, keepdims=True)
        scaled: NDArray[FloatT] = logits * (spread**self.exponent / self.temperature)
        return scaled

    def scores(self, logits: NDArray[FloatT]) -> NDArray[FloatT]:
        """Probabilities ``[..., K]`` from logits, in the same dtype."""
        return softmax(self.scale(logits))


def softmax(logits: NDArray[FloatT]) -> NDArray[FloatT]:
    """Probabilities ``[..., K]`` from logits, uncalibrated, in the same dtype."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    scores: NDArray[FloatT] = powers / powers.sum(axis=-1, keepdims=True)
    return scores
