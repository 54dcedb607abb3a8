"""What a pool of threads has still to do, and how long that takes it."""

from collections import Counter, defaultdict

from service.forecasts import Cost


class Backlog:
    """Work of several kinds, each with a size that tells how long it may take.

    What is waited for is counted by what is known when somebody asks, not when it came.
    """

    def __init__(self, threads: int) -> None:
        """There is nothing to do.

        Args:
            threads: how many work on it.
        """
        self._threads = threads
        self._counts: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._costs: defaultdict[str, Cost] = defaultdict(Cost)

    def __len__(self) -> int:
        return self._counts.total()

    @property
    def seconds(self) -> float:
        """How long the threads need for all of it; 0 where nothing is known."""
        needed = 0.0
        for kind, count in self._counts.items():
            slope, base = self._costs[kind].fit()
            needed += slope * self._sizes[kind] + base * count
        return needed / self._threads

    def expected(self, kind: str, size: int = 1) -> float:
        """Seconds that such work should take one thread; 0 where nothing is known."""
        return self._costs[kind].seconds(size, size)

    def enter(self, kind: str, size: int) -> None:
        """More is to be done."""
        self._counts[kind] += 1
        self._sizes[kind] += size

    def leave(self, kind: str, size: int) -> None:
        """It is done, or given up before it began."""
        self._counts[kind] -= 1
        self._sizes[kind] -= size

    def learn(self, kind: str, size: int, seconds: float, *, failed: bool) -> None:
        """It took so long; what fails at once, since it is no picture, tells nothing."""
        if not failed or seconds > self.expected(kind, size):
            self._costs[kind].learn(size, seconds)
