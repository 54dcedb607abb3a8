"""The lanes of the service: what model processes are asked to do."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from service.explanation import Explanation, Question
from service.lanes import Answer, ItemT, Lane, ResultT
from service.records import FaceImage, Scores
from service.remote import RemoteModel

ScoreLane: TypeAlias = Lane[RemoteModel, FaceImage, Scores]
ExplainLane: TypeAlias = Lane[RemoteModel, tuple[FaceImage, Question], Explanation]

HOLD_SECONDS = 0.05
"""Seconds that a batch of a lane that can wait may keep a worker from urgent work."""


class Lanes(NamedTuple):
    """All lanes.

    Attributes:
        interactive: scores for single pictures, somebody waiting for each.
        bulk: scores for many pictures, which can wait a little.
        explain: explanations.
    """

    interactive: ScoreLane
    bulk: ScoreLane
    explain: ExplainLane


class Submitter(Protocol):
    """Takes questions to the model: the core, here or in another process."""

    async def submit(
        self,
        lane: Lane[RemoteModel, ItemT, ResultT],
        items: Sequence[ItemT],
        *,
        deadline: float | None = None,
        wait: bool = False,
    ) -> list[Answer[ResultT]]:
        """As `service.batching.Batcher.submit`."""

    async def check(
        self, lane: Lane[RemoteModel, ItemT, ResultT], items: int, deadline: float | None = None
    ) -> None:
        """As `service.batching.Batcher.check`."""


def lanes_for(max_batch: int, max_items: int, max_wait: float) -> Lanes:
    """All lanes.

    Args:
        max_batch: the largest batch of scores that pays.
        max_items: most faces that may wait in each lane.
        max_wait: longest that single pictures should wait under overload, in seconds.
    """
    interactive: ScoreLane = Lane(
        "interactive",
        RemoteModel.scores,
        weight=8,
        max_batch=max_batch,
        max_items=max_items,
        max_wait=max_wait,
    )
    bulk: ScoreLane = Lane(
        "bulk",
        RemoteModel.scores,
        weight=1,
        max_batch=max_batch,
        max_items=max_items,
        budget=HOLD_SECONDS,
    )
    explain: ExplainLane = Lane(
        "explain",
        RemoteModel.explain,
        weight=2,
        max_batch=16,
        max_items=max_items,
        budget=HOLD_SECONDS,
    )
    return Lanes(interactive, bulk, explain)
