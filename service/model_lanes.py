"""What model processes are asked to do: the lanes, and how each brings its items to a worker."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeAlias

from service.explanation import Explanation, Question
from service.lanes import Answer, ItemT, Lane, ResultT
from service.records import FaceImage, Scores
from service.remote import RemoteModel

ScoreLane: TypeAlias = Lane[RemoteModel, FaceImage, Scores]
ExplainLane: TypeAlias = Lane[RemoteModel, tuple[FaceImage, Question], Explanation]

HOLD_SECONDS = 0.05
"""Longest that a batch of a lane that can wait may keep a worker from urgent work."""


class Lanes(NamedTuple):
    """The lanes there are.

    Attributes:
        interactive: scores of single pictures' faces: somebody waits for each.
        bulk: scores of many faces at once, which can wait a little.
        explain: explanations.
    """

    interactive: ScoreLane
    bulk: ScoreLane
    explain: ExplainLane


class Submitter(Protocol):
    """Where the model is asked: the batcher, or the way to it."""

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
        max_items: most faces that may wait in each.
        max_wait: longest that one of a crowd of single pictures should wait, in seconds.
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
