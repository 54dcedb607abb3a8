"""One measurement of one artefact on one data set, as it stands in cards and JSON files."""

from collections.abc import Sequence
from math import isnan
from typing import TypedDict

import numpy as np

from training import metrics
from training.network import EMOTIONS

THRESHOLDS = np.arange(0, 100, 5) / 100


class Share(TypedDict):
    """A proportion with its Wilson 95 % interval and the number of faces it was counted on."""

    value: float
    low: float
    high: float
    of: int


class BeforeAfter(TypedDict):
    """A measure of the scores before and after calibration."""

    before: float
    after: float


class BinRow(TypedDict):
    """A bin of the reliability diagram; its means are null where it is empty."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class CoverageRow(TypedDict):
    """What remains when faces whose top score is below `threshold` are left out."""

    threshold: float
    coverage: float
    accuracy: float | None


class Report(TypedDict):
    """Everything that is measured, of the calibrated scores unless it says before.

    Per-class values are null where the class has no face, or is never the answer. The confusion
    matrix has a row for each label and a column for each answer, in the order of `EMOTIONS`.
    """

    images: int
    accuracy: Share
    macro_recall: float
    recall: dict[str, Share | None]
    precision: dict[str, Share | None]
    nll: BeforeAfter
    ece: BeforeAfter
    coverage: list[CoverageRow]
    confusion: list[list[int]]
    reliability: list[BinRow]
    reliability_before: list[BinRow]


def measure(logits: metrics.Scores, labels: metrics.Labels, temperature: float) -> Report:
    """Measure logits ``[N, 6]`` against labels ``[N]``, N of 1 at least."""
    before, after = metrics.softmax(logits), metrics.softmax(logits, temperature)
    counts = metrics.confusion(after, labels)
    found = np.diag(counts).tolist()
    return Report(
        images=len(labels),
        accuracy=_share(sum(found), len(labels)),
        macro_recall=metrics.macro_recall(counts),
        recall=_by_emotion(found, counts.sum(axis=1).tolist()),
        precision=_by_emotion(found, counts.sum(axis=0).tolist()),
        nll=BeforeAfter(
            before=metrics.negative_log_likelihood(before, labels),
            after=metrics.negative_log_likelihood(after, labels),
        ),
        ece=BeforeAfter(
            before=metrics.calibration_error(before, labels),
            after=metrics.calibration_error(after, labels),
        ),
        coverage=[_coverage(row) for row in metrics.coverage(after, labels, THRESHOLDS)],
        confusion=counts.tolist(),
        reliability=[_bin(row) for row in metrics.reliability(after, labels)],
        reliability_before=[_bin(row) for row in metrics.reliability(before, labels)],
    )


def _share(part: int, of: int) -> Share:
    low, high = metrics.wilson(part, of)
    return Share(value=part / of, low=low, high=high, of=of)


def _by_emotion(parts: Sequence[int], of: Sequence[int]) -> dict[str, Share | None]:
    rows = zip(EMOTIONS, parts, of, strict=True)
    return {emotion: _share(part, total) if total else None for emotion, part, total in rows}


def _bin(row: metrics.Bin) -> BinRow:
    low, high, count, confidence, accuracy = row
    known = count > 0
    return BinRow(
        low=low,
        high=high,
        count=count,
        confidence=confidence if known else None,
        accuracy=accuracy if known else None,
    )


def _coverage(row: metrics.Answered) -> CoverageRow:
    accuracy = None if isnan(row.accuracy) else row.accuracy
    return CoverageRow(threshold=row.threshold, coverage=row.coverage, accuracy=accuracy)
