"""Where the time of a request goes."""

from dataclasses import dataclass


@dataclass(slots=True)
class Timings:
    """The seconds that each step of a request took; noted as it ends, so that others may fail."""

    decode: float = 0.0
    detect: float = 0.0
    queue: float = 0.0
    inference: float = 0.0

    def note(
        self,
        *,
        decode: float = 0.0,
        detect: float = 0.0,
        queue: float = 0.0,
        inference: float = 0.0,
    ) -> None:
        """Note steps that have ended; of those that run in parallel, the longest counts."""
        self.decode = max(self.decode, decode)
        self.detect = max(self.detect, detect)
        self.queue = max(self.queue, queue)
        self.inference = max(self.inference, inference)
