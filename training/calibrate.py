"""Logit offsets, temperature and abstention threshold.

Every data set has equal weight, whatever its size: the network was trained that way, and it is not
known which set future faces will resemble.
"""

from collections.abc import Callable, Sequence
from math import exp, log, sqrt

import numpy as np
import torch
from torch.nn import functional

from training import metrics
from training.report import THRESHOLDS, Scored

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.02, 50.0

FOLDS = 10
"""Folds for cross-fitting: each is evaluated at the temperature fitted on the others."""

OFFSET_PENALTY = 1e-4
"""Loss per squared offset: keeps offsets finite for classes without a validation face."""


def fit_offsets(sets: Sequence[Scored]) -> tuple[float, ...]:
    """What to add to each logit, zero on average.

    A loss that gives rare classes more weight makes the network predict them too often, which no
    temperature corrects. Offsets and a temperature are fitted together for the lowest negative
    log-likelihood (bias-corrected temperature scaling; Alexandari et al., 2020).
    """
    faces = [(torch.from_numpy(s.logits), torch.from_numpy(s.labels)) for s in sets]
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    offsets = torch.zeros(faces[0][0].shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_temperature, offsets], max_iter=200, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        temperature = log_temperature.clamp(log(MIN_TEMPERATURE), log(MAX_TEMPERATURE)).exp()
        losses = [functional.cross_entropy((z + offsets) / temperature, y) for z, y in faces]
        total = torch.stack(losses).mean() + OFFSET_PENALTY * offsets.square().sum()
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # likewise
    return tuple((offsets - offsets.mean()).tolist())


def fit_temperature(sets: Sequence[Scored]) -> float:
    """The temperature, to four decimals, that minimises the negative log-likelihood.

    The negative log-likelihood is convex in one over the temperature, so it has one minimum along
    the logarithm, which a golden-section search from 0.02 to 50 finds (Guo et al., 2017).
    """

    def loss(log_temperature: float) -> float:
        return _mean_nll(sets, exp(log_temperature))

    return round(exp(_minimum(loss, log(MIN_TEMPERATURE), log(MAX_TEMPERATURE))), 4)


def cross_fitted_temperatures(sets: Sequence[Scored]) -> list[metrics.Values]:
    """For each face, the temperature fitted on the folds that do not contain it.

    Results at these temperatures estimate those on new faces at a temperature fitted on all.

    Args:
        sets: at least two faces in total.

    Returns:
        For each set, float64 ``[N, 1]``.
    """
    fitted = [np.empty((len(part.labels), 1)) for part in sets]
    for fold in range(FOLDS):
        others = [_without(fold, part) for part in sets]
        temperature = fit_temperature([part for part in others if len(part.labels)])
        for temperatures in fitted:
            temperatures[fold::FOLDS] = temperature
    return fitted


def calibrated_loss(sets: Sequence[Scored]) -> float:
    """The negative log-likelihood at the best offsets and temperature, in nats."""
    offsets = fit_offsets(sets)
    shifted = [part.shifted(offsets) for part in sets]
    return _mean_nll(shifted, fit_temperature(shifted))


def choose_threshold(sets: Sequence[Scored], temperature: float) -> float:
    """The top score, one of `THRESHOLDS`, below which it is better to abstain.

    A correct answer counts +1, a wrong one -1 and an abstention 0; of the thresholds with the
    highest total, the lowest is chosen. For well calibrated scores it is near one half, the point
    where an answer becomes more likely right than wrong.
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


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """The minimum of a `function` that is unimodal between `low` and `high` (golden section)."""
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
