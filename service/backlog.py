"""What a pool of threads still has to do, and how long that should take."""

from collections import Counter, defaultdict

from service.forecasts import Cost


class Backlog:
    """Outstanding work of several kinds, each item with a size that its duration depends on.

    Predictions use what is known when they are asked for, not when the work came.
    """

    def __init__(self, threads: int) -> None:
        """Begin with none.

        Args:
            threads: how many threads share the work.
        """
        self._threads = threads
        self._counts: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._costs: defaultdict[str, Cost] = defaultdict(Cost)

    def __len__(self) -> int:
        return self._counts.total()

    @property
    def seconds(self) -> float:
        """How long the threads should take for all of it; 0 if nothing is known yet."""
        needed = 0.0
        for kind, count in self._counts.items():
            slope, base = self._costs[kind].fit()
            needed += slope * self._sizes[kind] + base * count
        return needed / self._threads

    def expected(self, kind: str, size: int = 1) -> float:
        """Seconds that one thread should take for such an item; 0 if nothing is known yet."""
        return self._costs[kind].seconds(size, size)

    def enter(self, kind: str, size: int) -> None:
        """Add an item."""
        self._counts[kind] += 1
        self._sizes[kind] += size

    def leave(self, kind: str, size: int) -> None:
        """Remove an item that is done, or was dropped before it began."""
        self._counts[kind] -= 1
        self._sizes[kind] -= size

    def learn(self, kind: str, size: int, seconds: float, *, failed: bool) -> None:
        """An item took so long; a failure counts only if it took longer than expected.

        What fails at once, since it is no picture, says nothing about pictures.
        """
        if not failed or seconds > self.expected(kind, size):
            self._costs[kind].learn(size, seconds)
