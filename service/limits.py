"""Load shedding, limited places and rate limits."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from service.errors import Overloaded, RateLimited

FREE_QUEUE = 128
"""So many may wait, however long, until an overload begins: clients that await each answer before
they ask again never cause one."""

OVERLOAD_HOLD = 1.0
"""Seconds after the last refusal at which an overload counts as over."""

ASSUMED_SECONDS = 10.0
"""How long a place is assumed to be held before the first was given back, in seconds."""

EWMA_WEIGHT = 0.1
"""Weight of the latest holder in the moving average of how long places are held."""


class LoadShedder:
    """Decides who is refused because more arrives than can be answered.

    At first a burst may wait, however long. Once it exceeds `FREE_QUEUE`, a long queue would only
    delay everybody, so it is kept short until nobody was refused for `OVERLOAD_HOLD`.
    """

    def __init__(self, max_wait: float) -> None:
        """Shed nothing yet.

        Args:
            max_wait: longest predicted wait that is let in during an overload, in seconds.
        """
        self._max_wait = max_wait
        self._overloaded_until = -inf

    def sheds(self, waiting: int, seconds: float, now: float) -> bool:
        """Whether to refuse one more, who would wait so many seconds as one of `waiting`."""
        if seconds <= self._max_wait or (waiting <= FREE_QUEUE and now >= self._overloaded_until):
            return False
        self._overloaded_until = now + OVERLOAD_HOLD
        return True


class Quota:
    """A limited number of places, for what takes long or much memory.

    Attributes:
        most: how many there are.
    """

    def __init__(
        self,
        most: int,
        what: str,
        refused: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """All are free.

        Args:
            most: how many there are.
            what: what holds them, in words that follow "too many".
            refused: called when somebody is refused.
            clock: monotonic seconds.
        """
        self.most = most
        self._what = what
        self._refused = refused
        self._clock = clock
        self._held = 0
        self._holders = 0
        self._seconds = ASSUMED_SECONDS  # moving average of how long places are held

    def held(self) -> int:
        """How many are held now."""
        return self._held

    @contextmanager
    def hold(self, places: int = 1) -> Iterator[None]:
        """Hold some places.

        Raises:
            Overloaded: not as many are free.
        """
        with self.growing() as take:
            take(places)
            yield

    @contextmanager
    def growing(self) -> Iterator[Callable[[int], None]]:
        """Hold none at first, and more with each call of the given function, as `hold` does."""
        mine, since = 0, self._clock()
        self._holders += 1

        def take(places: int) -> None:
            nonlocal mine
            if self._held + places > self.most:
                self._refused()
                seconds = max(1.0, self._seconds / max(1, self._holders - 1))
                raise Overloaded(
                    f"too many {self._what} already ({self._held:,}): try again in {seconds:.0f} s",
                    seconds,
                )
            self._held += places
            mine += places

        try:
            yield take
        finally:
            self._held -= mine
            self._holders -= 1
            if mine:
                self._seconds += (self._clock() - since - self._seconds) * EWMA_WEIGHT


class RateLimiter:
    """A token bucket for each name: a sustained rate, and bursts above it."""

    def __init__(
        self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> None:
        """Take a token from the bucket of `name`.

        Raises:
            RateLimited: it is empty; the error says when to try again.
        """
        now = self._clock()
        tokens, since = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        if tokens < 1:
            wait = (1 - tokens) / self._per_second
            raise RateLimited(
                f"over this key's rate of {self._per_second:g} a second: try again in {wait:.1f} s",
                wait,
            )
        self._buckets[name] = tokens - 1, now
