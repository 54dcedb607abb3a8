"""What can be said about scores and labels, in numpy alone.

Scores are probabilities, float64 ``[N, K]``, one row a face; labels are int64 ``[N]``. Whatever
cannot be known, such as the recall of a class without a face, is NaN.
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
    """The faces whose top score lies in (low, high]."""

    low: float
    high: float
    faces: int
    confidence: float
    accuracy: float


class Answered(NamedTuple):
    """What is left when answers whose top score is below `threshold` are withheld.

    `coverage` is the part that is answered, `accuracy` how often those answers are right.
    """

    threshold: float
    coverage: float
    accuracy: float


def softmax(logits: NDArray[np.floating], temperature: float | Values = 1.0) -> Scores:
    """Probabilities from logits ``[N, K]`` that are divided by `temperature` first.

    One for all, or ``[N, 1]``, one for each row.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    scores: Scores = powers / powers.sum(axis=1, keepdims=True)
    return scores


def wilson(share: float, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a share counted on `total` faces; 95 % by default.

    Unlike the normal approximation it stays within 0 and 1 and holds for few faces (Wilson, 1927).
    """
    middle = share + z**2 / (2 * total)
    reach = z * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
    width = 1 + z**2 / total
    return max(0.0, (middle - reach) / width), min(1.0, (middle + reach) / width)


def accuracy(scores: Scores, labels: Labels) -> float:
    """How often the class with the top score is the label."""
    return float((scores.argmax(axis=1) == labels).mean())


def confusion(scores: Scores, labels: Labels) -> Counts:
    """Faces by label (row) and class with the top score (column), ``[K, K]``."""
    classes = scores.shape[1]
    cells = np.bincount(labels * classes + scores.argmax(axis=1), minlength=classes**2)
    return cells.reshape(classes, classes)


def recall(counts: Counts) -> Values:
    """Per class, the part of its faces that is found, from a confusion matrix."""
    return _share(np.diag(counts), counts.sum(axis=1))


def precision(counts: Counts) -> Values:
    """Per class, the part of the answers naming it that is right, from a confusion matrix."""
    return _share(np.diag(counts), counts.sum(axis=0))


def macro_recall(counts: Counts) -> float:
    """The mean recall of the classes that have a face."""
    return float(np.nanmean(recall(counts)))


def losses(scores: Scores, labels: Labels) -> Values:
    """-log of each label's score, in nats, ``[N]``."""
    chosen = np.take_along_axis(scores, labels[:, None], axis=1)[:, 0]
    each: Values = -np.log(np.maximum(chosen, np.finfo(np.float64).tiny))
    return each


def negative_log_likelihood(scores: Scores, labels: Labels) -> float:
    """The mean of `losses`."""
    return float(losses(scores, labels).mean())


def reliability(scores: Scores, labels: Labels, bins: int = 15) -> list[Bin]:
    """Mean top score and accuracy of the faces in each of `bins` equal parts of 0 to 1."""
    top, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    at = np.clip(np.ceil(top * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    confidences = _share(np.bincount(at, top, bins), counts)
    accuracies = _share(np.bincount(at, right, bins), counts)
    columns = (edges[:-1], edges[1:], counts, confidences, accuracies)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [Bin(*row) for row in rows]


def calibration_error(scores: Scores, labels: Labels, bins: int = 15) -> float:
    """The expected calibration error (ECE): of the top score, over `bins` bins of equal width.

    The mean distance between a bin's confidence and its accuracy, each bin weighing as many faces
    as it holds (Guo et al., 2017).
    """
    filled = [b for b in reliability(scores, labels, bins) if b.faces]
    return sum(b.faces * abs(b.accuracy - b.confidence) for b in filled) / len(labels)


def chance_calibration_error(bins: Sequence[tuple[int, float]]) -> float:
    """The calibration error to expect of scores that are exactly true, on so few faces.

    Faces that are right as often as their bin's confidence says still miss it by the mean absolute
    deviation of a binomial (De Moivre, 1730).

    Args:
        bins: faces, one at least, and mean top score of each bin.
    """
    return sum(_mean_deviation(n, p) for n, p in bins) / sum(n for n, _ in bins)


def coverage(scores: Scores, labels: Labels, thresholds: Values) -> list[Answered]:
    """Accuracy against coverage, for each of `thresholds` on the top score."""
    top, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    rows = []
    for threshold in thresholds:
        answered = top >= threshold
        share = float(right[answered].mean()) if answered.any() else float("nan")
        rows.append(Answered(float(threshold), float(answered.mean()), share))
    return rows


def _mean_deviation(n: int, p: float) -> float:
    """The mean of ``|X - np|`` over a binomial ``X`` of `n` draws at `p`."""
    if p >= 1:
        return 0.0
    above = floor(n * p) + 1
    ways = lgamma(n + 1) - lgamma(above + 1) - lgamma(n - above + 1)
    return 2 * above * exp(ways + above * log(p) + (n - above + 1) * log(1 - p))


def _share(part: NDArray[np.number], whole: NDArray[np.number]) -> Values:
    shares: Values = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return shares
