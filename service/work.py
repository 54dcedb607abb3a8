"""What model processes are asked to do: the lanes, and how each brings its items to a worker."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from service.errors import ModelFailure
from service.lanes import Batch, Lane
from service.records import FaceImage, Scores
from service.remote import RemoteModel

ScoreLane: TypeAlias = Lane[RemoteModel, FaceImage, Scores]


def interactive(max_batch: int, max_items: int) -> ScoreLane:
    """Scores of single pictures' faces: somebody waits for each."""
    return Lane("interactive", score, weight=8, max_batch=max_batch, max_items=max_items)


async def score(worker: RemoteModel, faces: Sequence[FaceImage]) -> Batch[Scores]:
    """Score faces; a row that is not finite fails its face alone.

    Raises:
        ModelFailure: the batch as a whole could not be scored.
    """
    scored = await worker.scores(np.stack(faces))
    results = [
        row if np.isfinite(row).all() else ModelFailure("the model gave no finite scores")
        for row in scored.scores
    ]
    return Batch(results, scored.seconds)
