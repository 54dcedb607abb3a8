"""When to try again: a decision without clock or network."""

from dataclasses import dataclass

from service.errors import RetryLater, ServiceError


@dataclass(frozen=True, slots=True)
class Retries:
    """How patient a client is.

    Attributes:
        attempts: most of them in all.
        refusals: most of them where the service answers with Retry-After; as many if None.
        longest: most seconds to wait before one; who should wait longer gets the error.
        first: seconds to wait if nobody answered; doubled each time.
    """

    attempts: int = 5
    refusals: int | None = None
    longest: float = 30.0
    first: float = 0.25

    def pause(self, error: ServiceError, attempt: int) -> float | None:
        """Seconds to wait after the `attempt`-th failure, from 1; None to give up."""
        if isinstance(error, RetryLater):
            most = self.attempts if self.refusals is None else self.refusals
            if attempt >= most or error.retry_after > self.longest:
                return None
            return error.retry_after
        if isinstance(error, Unreachable) and attempt < self.attempts:
            return min(self.longest, self.first * 2.0 ** (attempt - 1))
        return None


class Unreachable(ServiceError):
    """No GiMeFive service answers at the URL, or the connection broke."""
