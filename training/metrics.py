"""Metrics of scores and labels, in numpy.

Scores are probabilities, float64 ``[N, K]``, one row per face; labels are int64 ``[N]``. Undefined
values, such as the recall of a class without a face, are NaN.
"""

from collections.abc import Sequence
from math import exp, floor, lgamma, log
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


class Bin(NamedTuple):
    """The faces whose top score is in (low, high]."""

    low: float
    high: float
    faces: int
    confidence: float
    accuracy: float


class Selective(NamedTuple):
    """Selective prediction: the result of abstaining when the top score is below `threshold`.

    `coverage` is the share of faces answered, `accuracy` the share of correct answers among them.
    """

    threshold: float
    coverage: float
    accuracy: float


def wilson(share: float, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a share of `total` faces; 95% by default.

    Unlike the normal approximation it stays within 0 and 1 and holds for few faces (Wilson, 1927).
    """
    middle = share + z**2 / (2 * total)
    reach = z * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    width = 1 + z**2 / total
    return max(0.0, (middle - reach) / width), min(1.0, (middle + reach) / width)


def accuracy(scores: Scores, labels: Labels) -> float:
    """The share of faces whose top score is that of the label."""
    return float((scores.argmax(axis=1) == labels).mean())


def confusion(scores: Scores, labels: Labels) -> Counts:
    """Number of faces by label (row) and prediction (column), ``[K, K]``."""
    classes = scores.shape[1]
    cells = np.bincount(labels * classes + scores.argmax(axis=1), minlength=classes**2)
    return cells.reshape(classes, classes)


def recall(counts: Counts) -> Values:
    """Recall per class from a confusion matrix."""
    return _ratio(np.diag(counts), counts.sum(axis=1))


def precision(counts: Counts) -> Values:
    """Precision per class from a confusion matrix."""
    return _ratio(np.diag(counts), counts.sum(axis=0))


def macro_recall(counts: Counts) -> float:
    """The mean recall of the classes with at least one face."""
    return float(np.nanmean(recall(counts)))


def losses(scores: Scores, labels: Labels) -> Values:
    """The negative log-likelihood of each label, in nats, ``[N]``."""
    chosen = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    each: Values = -np.log(np.maximum(chosen, np.finfo(np.float64).tiny))
    return each


def negative_log_likelihood(scores: Scores, labels: Labels) -> float:
    """The mean of `losses`."""
    return float(losses(scores, labels).mean())


def reliability(scores: Scores, labels: Labels, bins: int = 15) -> list[Bin]:
    """Mean top score and accuracy of the faces in each of `bins` bins of equal width."""
    top, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    at = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    confidences = _ratio(np.bincount(at, top, bins), counts)
    accuracies = _ratio(np.bincount(at, right, bins), counts)
    columns = (edges[:-1], edges[1:], counts, confidences, accuracies)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Bin(*row) for row in rows]


def calibration_error(scores: Scores, labels: Labels, bins: int = 15) -> float:
    """The expected calibration error (ECE) of the top score over `bins` bins of equal width.

    The mean difference between confidence and accuracy of the bins, weighted by their number of
    faces (Guo et al., 2017).
    """
    filled = [b for b in reliability(scores, labels, bins) if b.faces]
    return sum(b.faces * abs(b.accuracy - b.confidence) for b in filled) / len(labels)


def chance_calibration_error(bins: Sequence[tuple[int, float]]) -> float:
    """The expected calibration error of perfectly calibrated scores on this many faces.

    A bin's accuracy then deviates from its confidence by the mean absolute deviation of a binomial
    (De Moivre, 1730).

    Args:
        bins: number of faces, at least one, and mean top score of each bin.
    """
    return sum(_mean_deviation(n, p) for n, p in bins) / sum(n for n, _ in bins)


def coverage(scores: Scores, labels: Labels, thresholds: Values) -> list[Selective]:
    """Coverage and accuracy for each of `thresholds` on the top score."""
    top, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    rows = []
    for threshold in thresholds:
        answered = top >= threshold
        share = float(right[answered].mean()) if answered.any() else float("nan")
        rows.append(Selective(float(threshold), float(answered.mean()), share))
    return rows


def _mean_deviation(n: int, p: float) -> float:
    """The mean of ``|X - np|`` over a binomial ``X`` of `n` draws at `p`."""
    if p >= 1:
        return 0.0
    above = floor(n * p) + 1
    ways = lgamma(n + 1) - lgamma(above + 1) - lgamma(n - above + 1)
    return 2 * above * exp(ways + above * log(p) + (n - above + 1) * log(1 - p))


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> Values:
    shares: Values = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares
