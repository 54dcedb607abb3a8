"""Learning from experience how long work takes, and how far off such predictions are."""

import sys
from math import ceil


class Cost:
    """How long a batch takes: t(n) = a * n + b, fitted to recent batches.

    Weighted least squares in which older batches count for less, so that the fit follows a machine
    whose speed changes.
    """

    DECAY = 0.95

    def __init__(self) -> None:
        self._weight = self._n = self._t = self._nn = self._nt = 0.0

    def learn(self, items: int, seconds: float) -> None:
        """A batch of `items` took `seconds`."""
        decay = self.DECAY
        self._weight = self._weight * decay + 1
        self._n = self._n * decay + items
        self._t = self._t * decay + seconds
        self._nn = self._nn * decay + items * items
        self._nt = self._nt * decay + items * seconds

    def fit(self) -> tuple[float, float]:
        """The slope a and the intercept b, neither negative; both 0 before the first batch."""
        if not self._weight:
            return 0.0, 0.0
        if self._one_size:
            return self._t / self._n, 0.0
        slope = (self._weight * self._nt - self._n * self._t) / self._spread
        slope = min(max(slope, 0.0), self._t / self._n)
        return slope, (self._t - slope * self._n) / self._weight

    def seconds(self, items: int, max_batch: int) -> float:
        """How long one worker takes for `items` in batches of at most `max_batch`."""
        slope, base = self.fit()
        return slope * items + base * ceil(items / max_batch)

    def least_seconds(self, items: int) -> float:
        """How long one batch takes at least.

        Where all batches were of one size, a larger one may take no longer, and `seconds` is only
        an upper bound.
        """
        slope, base = self.fit()
        counted = min(items, self._n / self._weight) if self._one_size else items
        return slope * counted + base

    def fitting(self, budget: float) -> int:
        """The largest batch that takes at most `budget` seconds; at least 1."""
        slope, base = self.fit()
        if slope:
            return max(1, int((budget - base) / slope))
        return sys.maxsize if 0 < base <= budget else 1  # size does not matter, or nothing is known

    @property
    def _spread(self) -> float:
        return self._weight * self._nn - self._n * self._n

    @property
    def _one_size(self) -> bool:
        return self._spread < 1e-6 * self._weight * self._nn


class SafetyMargin:
    """What to add to a prediction so that the real time rarely exceeds it.

    The mean error plus two mean deviations, much as TCP sets its retransmission timeout (V.
    Jacobson, Congestion Avoidance and Control, 1988).
    """

    DECAY = 0.95

    def __init__(self) -> None:
        self._mean = self._deviation = 0.0

    def learn(self, error: float) -> None:
        """Something took `error` seconds longer than predicted."""
        off = error - self._mean
        self._deviation += (1 - self.DECAY) * (abs(off) - self._deviation)
        self._mean += (1 - self.DECAY) * off

    @property
    def seconds(self) -> float:
        """Negative if things tend to take less time than predicted."""
        return self._mean + 2 * self._deviation
