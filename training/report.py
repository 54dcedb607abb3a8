"""The results of one file on one data set, as stored in cards and JSON files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan
from typing import TypedDict

import numpy as np

from service.calibration import softmax
from training import metrics
from training.network import EMOTIONS

THRESHOLDS = np.arange(0, 100, 5) / 100
"""The thresholds for which accuracy and coverage are reported."""


class Share(TypedDict):
    """A proportion with its 95% Wilson interval and the number of faces it is based on."""

    value: float
    low: float
    high: float
    of: int


class BeforeAfter(TypedDict):
    """A metric of the scores before and after calibration."""

    before: float
    after: float


class BinRow(TypedDict):
    """A bin of the reliability diagram; its means are null if it is empty."""

    low: float
    high: float
    faces: int
    confidence: float | None
    accuracy: float | None


class CoverageRow(TypedDict):
    """Coverage and accuracy when abstaining below `threshold`."""

    threshold: float
    coverage: float
    accuracy: float | None


class Report(TypedDict):
    """All metrics, of the calibrated scores unless named `before`.

    Per-class values are null if the class has no face, or is never predicted. The confusion matrix
    has a row per label and a column per prediction, in the order of `EMOTIONS`.
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


@dataclass(frozen=True)
class Scored:
    """A network's logits for a data set of at least one face.

    Attributes:
        logits: float64 ``[N, 6]``.
        labels: int64 ``[N]``.
        evened: how far its rare emotions count for more in a calibration; see `evening.weights`.
    """

    logits: metrics.Values
    labels: metrics.Labels
    evened: float = 0.0

    @classmethod
    def pool(cls, sets: Sequence["Scored"]) -> "Scored":
        """Several data sets as one."""
        logits, labels = ([getattr(s, name) for s in sets] for name in ("logits", "labels"))
        return cls(np.concatenate(logits), np.concatenate(labels))

    def shifted(self, offsets: Sequence[float]) -> "Scored":
        """The same faces, with `offsets` added to their logits."""
        return replace(self, logits=self.logits + np.array(offsets))

    def agreement(self, other: "Scored") -> float:
        """The share of faces with the same prediction from both."""
        return float((self.logits.argmax(axis=1) == other.logits.argmax(axis=1)).mean())

    @property
    def accuracy(self) -> float:
        """The share of faces whose highest logit is that of the label."""
        return metrics.accuracy(self.logits, self.labels)

    @property
    def share(self) -> Share:
        """The accuracy with its interval."""
        return _share(self.accuracy, len(self.labels))


def measure(scored: Scored, after: metrics.Scores) -> Report:
    """The metrics of a network's calibrated scores, `after`, and of those before calibration."""
    labels, before = scored.labels, softmax(scored.logits)
    counts = metrics.confusion(after, labels)
    return Report(
        images=len(labels),
        accuracy=scored.share,
        macro_recall=metrics.macro_recall(counts),
        recall=_by_emotion(metrics.recall(counts), counts.sum(axis=1)),
        precision=_by_emotion(metrics.precision(counts), counts.sum(axis=0)),
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


def _share(value: float, of: int) -> Share:
    low, high = metrics.wilson(value, of)
    return Share(value=value, low=low, high=high, of=of)


def _by_emotion(values: metrics.Values, of: metrics.Counts) -> dict[str, Share | None]:
    rows = zip(EMOTIONS, values.tolist(), of.tolist(), strict=True)
    return {emotion: _share(value, total) if total else None for emotion, value, total in rows}


def _bin(row: metrics.Bin) -> BinRow:
    low, high, faces, confidence, accuracy = row
    known = faces > 0
    return BinRow(
        low=low,
        high=high,
        faces=faces,
        confidence=confidence if known else None,
        accuracy=accuracy if known else None,
    )


def _coverage(row: metrics.Selective) -> CoverageRow:
    accuracy = None if isnan(row.accuracy) else row.accuracy
    return CoverageRow(threshold=row.threshold, coverage=row.coverage, accuracy=accuracy)
