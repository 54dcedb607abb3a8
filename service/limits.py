"""Limits on what waits, and those that hold over the whole service, however many fronts it has."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from service.errors import Overloaded, RateLimited

FREE_QUEUE = 128
"""Until an overload begins this many may wait, however long: clients that await each answer before
they ask again cause none."""


OVERLOAD_HOLD = 1.0
"""Seconds without a refusal after which an overload counts as over."""


ASSUMED_SECONDS = 10.0
"""Seconds for which a place is taken to be held before anybody has shown how long."""

EWMA_WEIGHT = 0.1
"""Weight of the latest holder in the average of how long a place is held."""


class LoadShedder:
    """Whether more pictures come than can be answered.

    Until a crowd has been exceeded nobody is refused. From then on a long queue would gain nothing
    and only delay those who are let in, so it is kept short for as long as somebody is refused.
    """

    def __init__(self, max_wait: float) -> None:
        """None as yet.

        Args:
            max_wait: longest that one of more than a crowd should wait, in seconds.
        """
        self._max_wait = max_wait
        self._over = -inf

    def sheds(self, waiting: int, seconds: float, now: float) -> bool:
        """Whether one is to be refused who would be one of `waiting`, for so many seconds."""
        if seconds <= self._max_wait or (waiting <= FREE_QUEUE and now >= self._over):
            return False
        self._over = now + OVERLOAD_HOLD
        return True


class Quota:
    """A limited number of places, for what takes long or much memory.

    Attributes:
        most: places at a time.
    """

    def __init__(
        self,
        most: int,
        what: str,
        refused: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """None is taken yet.

        Args:
            most: places at a time.
            what: has them, in words that follow a number.
            refused: told when somebody is refused.
            clock: seconds.
        """
        self.most = most
        self._what = what
        self._refused = refused
        self._clock = clock
        self._held = 0
        self._holders = 0
        self._seconds = ASSUMED_SECONDS  # that one holds its places, on average of late

    def held(self) -> int:
        """How many are held now."""
        return self._held

    @contextmanager
    def hold(self, places: int = 1) -> Iterator[None]:
        """Hold one, or some.

        Raises:
            Overloaded: too many are held.
        """
        with self.growing() as take:
            take(places)
            yield

    @contextmanager
    def growing(self) -> Iterator[Callable[[int], None]]:
        """Hold none at first, and more with each call of what this gives, as `hold` does."""
        mine, since = 0, self._clock()
        self._holders += 1

        def take(places: int) -> None:
            nonlocal mine
            if self._held + places > self.most:
                self._refused()
                seconds = max(1.0, self._seconds / max(1, self._holders - 1))
                raise Overloaded(
                    f"{self._held:,} {self._what} already: try again in {seconds:.0f} s", seconds
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
    """A token bucket for each name: so many requests a second, some more at once."""

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
            RateLimited: it is empty; says when the next token comes.
        """
        now = self._clock()
        tokens, since = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._per_second)
        if tokens < 1:
            self._buckets[name] = tokens, now
            wait = (1 - tokens) / self._per_second
            raise RateLimited(
                f"over {self._per_second:g} requests a second with this key: "
                f"try again in {wait:.1f} s",
                wait,
            )
        self._buckets[name] = tokens - 1, now
