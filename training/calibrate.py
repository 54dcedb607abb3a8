"""Logit offsets, calibration and abstention threshold.

Every data set has equal weight, whatever its size: the network was trained that way, and it is not
known which set future faces will resemble.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import log

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from service.calibration import Calibration
from training import metrics
from training.evening import weights
from training.report import THRESHOLDS, Scored

MIN_TEMPERATURE, MAX_TEMPERATURE = 0.02, 50.0

FOLDS = 10
"""Folds for cross-fitting: each is scored with the calibration fitted on the others."""

PENALTY = 1e-4
"""Loss per squared offset and exponent: keeps finite what the faces do not determine."""


def fit_offsets(sets: Sequence[Scored]) -> tuple[float, ...]:
    """What to add to each logit, zero on average.

    A loss that gives rare classes more weight makes the network predict them too often, which no
    temperature corrects. Offsets and a temperature are fitted together for the lowest negative
    log-likelihood (bias-corrected temperature scaling; Alexandari et al., 2020).
    """
    faces = [(torch.from_numpy(s.logits), torch.from_numpy(s.labels)) for s in sets]
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    offsets = torch.zeros(faces[0][0].shape[1], dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        temperature = _temperature(log_temperature)
        losses = [functional.cross_entropy((z + offsets) / temperature, y) for z, y in faces]
        return torch.stack(losses).mean() + PENALTY * offsets.square().sum()

    _minimise(loss, log_temperature, offsets)
    return tuple((offsets - offsets.mean()).tolist())


def fit_calibration(sets: Sequence[Scored]) -> Calibration:
    """The calibration, to four decimals, with the lowest negative log-likelihood.

    The exponent is fitted as a square, which is never negative. Faces of a set that was evened out
    count as often as the network assumes; otherwise they would sharpen the scores of all others.
    """
    faces = [_weighted(part) for part in sets]
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    root = torch.full((), 0.5, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        temperature, exponent = _temperature(log_temperature), root.square()
        losses = [
            functional.cross_entropy(z * (spread**exponent / temperature), y, counted)
            for z, spread, y, counted in faces
        ]
        return torch.stack(losses).mean() + PENALTY * exponent.square()

    _minimise(loss, log_temperature, root)
    return Calibration(
        round(_temperature(log_temperature).item(), 4), round(root.square().item(), 4)
    )


def cross_fitted_scores(sets: Sequence[Scored]) -> list[metrics.Scores]:
    """Scores with, for each face, the calibration fitted on the folds that do not contain it.

    Their results estimate those on new faces with the calibration fitted on all.

    Args:
        sets: at least two faces in total.

    Returns:
        For each set, float64 ``[N, 6]``.
    """
    fitted = [np.empty_like(part.logits) for part in sets]
    for fold in range(FOLDS):
        others = [_without(fold, part) for part in sets]
        calibration = fit_calibration([part for part in others if len(part.labels)])
        for part, scores in zip(sets, fitted, strict=True):
            scores[fold::FOLDS] = calibration.scores(part.logits[fold::FOLDS])
    return fitted


def calibrated_loss(sets: Sequence[Scored]) -> float:
    """The negative log-likelihood with the best offsets and calibration, in nats."""
    offsets = fit_offsets(sets)
    shifted = [part.shifted(offsets) for part in sets]
    calibration = fit_calibration(shifted)
    losses = [
        metrics.negative_log_likelihood(calibration.scores(part.logits), part.labels)
        for part in shifted
    ]
    return sum(losses) / len(losses)


def choose_threshold(sets: Sequence[Scored], calibration: Calibration) -> float:
    """The top score, one of `THRESHOLDS`, below which it is better to abstain.

    A correct answer counts +1, a wrong one -1 and an abstention 0; of the thresholds with the
    highest total, the lowest is chosen. For well calibrated scores it is near one half, the point
    where an answer becomes more likely right than wrong.
    """
    gain = np.zeros(len(THRESHOLDS))
    for part in sets:
        scores = calibration.scores(part.logits)
        worth = np.where(scores.argmax(axis=1) == part.labels, 1.0, -1.0)
        answered = scores.max(axis=1) >= THRESHOLDS[:, None]
        gain += (answered * worth).mean(axis=1)
    return float(THRESHOLDS[gain.argmax()])


def _without(fold: int, part: Scored) -> Scored:
    kept = np.arange(len(part.labels)) % FOLDS != fold
    return replace(part, logits=part.logits[kept], labels=part.labels[kept])


def _weighted(part: Scored) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, their spread, labels, and how much each emotion counts."""
    logits = torch.from_numpy(part.logits)
    spread = logits.std(dim=1, correction=0, keepdim=True)
    counted = torch.from_numpy(weights(part.labels, part.evened))
    return logits, spread, torch.from_numpy(part.labels), counted


def _temperature(logarithm: Tensor) -> Tensor:
    return logarithm.clamp(log(MIN_TEMPERATURE), log(MAX_TEMPERATURE)).exp()


def _minimise(loss: Callable[[], Tensor], *parameters: Tensor) -> None:
    """Change the parameters so that the loss is lowest."""
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def step() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return value

    optimizer.step(step)  # type: ignore[no-untyped-call]  # likewise
