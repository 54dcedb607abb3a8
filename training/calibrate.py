"""Offsets of the logits, temperature and abstention threshold.

Every data set weighs the same, however many faces it has: the network was trained so, and nobody
knows whose faces the next ones will resemble.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import exp, log, sqrt

import numpy as np
import torch
from torch.nn import functional

from training import metrics
from training.report import THRESHOLDS, Scored

LOWEST, HIGHEST = 0.02, 50.0

FOLDS = 10
"""Parts of the faces, each of which is measured at the temperature of the others."""

PULL = 1e-4
"""Loss for each squared offset: keeps them finite where no validation face speaks of a class."""


def fit_offsets(sets: Sequence[Scored]) -> tuple[float, ...]:
    """What to add to each logit, zero on average.

    A loss that weighs rare classes more makes the network expect them more often than they come,
    which no temperature mends. Offsets and a temperature are fitted together for the lowest
    negative log-likelihood (bias-corrected temperature scaling; Alexandari et al., 2020).
    """
    faces = [(torch.from_numpy(s.logits), torch.from_numpy(s.labels)) for s in sets]
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    offsets = torch.zeros(faces[0][0].shape[1], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [log_temperature, offsets], max_iter=200, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        search.zero_grad()
        temperature = log_temperature.clamp(log(LOWEST), log(HIGHEST)).exp()
        losses = [functional.cross_entropy((z + offsets) / temperature, y) for z, y in faces]
        total = torch.stack(losses).mean() + PULL * offsets.square().sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return total

    search.step(loss)  # type: ignore[no-untyped-call]  # likewise
    return tuple((offsets - offsets.mean()).tolist())


def fit_temperature(sets: Sequence[Scored]) -> float:
    """The temperature, to four decimals, that minimises the negative log-likelihood.

    The likelihood is convex in one over the temperature, so that along its logarithm there is one
    minimum, which a golden-section search between 0.02 and 50 cannot miss (Guo et al., 2017).
    """

    def loss(log_temperature: float) -> float:
        return _mean_nll(sets, exp(log_temperature))

    return round(exp(_lowest(loss, log(LOWEST), log(HIGHEST))), 4)


def temperatures_of_others(sets: Sequence[Scored]) -> list[metrics.Values]:
    """For each face the temperature of the nine tenths of all faces that it is not in.

    What scores at these are worth is what those at a temperature fitted on all faces are worth on
    new ones (cross-fitting).

    Args:
        sets: two faces at least, all together.

    Returns:
        For each set, float64 ``[N, 1]``.
    """
    each = [np.empty((len(part.labels), 1)) for part in sets]
    for fold in range(FOLDS):
        others = [_without(fold, part) for part in sets]
        temperature = fit_temperature([part for part in others if len(part.labels)])
        for temperatures in each:
            temperatures[fold::FOLDS] = temperature
    return each


def calibrated_loss(sets: Sequence[Scored]) -> float:
    """The negative log-likelihood that is left with the best offsets and temperature, in nats."""
    offsets = fit_offsets(sets)
    moved = [replace(part, logits=part.logits + np.array(offsets)) for part in sets]
    return _mean_nll(moved, fit_temperature(moved))


def choose_threshold(sets: Sequence[Scored], temperature: float) -> float:
    """The top score, one of `THRESHOLDS`, below which it is better not to answer.

    A right answer counts +1, a wrong one -1 and none 0; the threshold is the lowest of those with
    the highest sum. For well calibrated scores that is near one half: the point where an answer
    begins to be right more often than wrong.
    """
    gain = np.zeros(len(THRESHOLDS))
    for part in sets:
        scores = metrics.softmax(part.logits, temperature)
        worth = np.where(scores.argmax(axis=1) == part.labels, 1.0, -1.0)
        answered = scores.max(axis=1) >= THRESHOLDS[:, None]
        gain += (answered * worth).mean(axis=1)
    return float(THRESHOLDS[gain.argmax()])


def _without(fold: int, part: Scored) -> Scored:
    kept = np.arange(len(part.labels)) % FOLDS != fold
    return Scored(part.logits[kept], part.labels[kept])


def _mean_nll(sets: Sequence[Scored], temperature: float) -> float:
    losses = [
        metrics.negative_log_likelihood(metrics.softmax(part.logits, temperature), part.labels)
        for part in sets
    ]
    return sum(losses) / len(losses)


def _lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function`, falling and then rising between `low` and `high`, is lowest."""
    golden = (sqrt(5) - 1) / 2
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > 1e-6:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = function(right)
    return (low + high) / 2
