"""Logits of the written files for faces they were not trained on, and what follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import nn

from service.calibration import Calibration
from training.artefact import score
from training.calibrate import choose_threshold, cross_fitted_scores, fit_calibration
from training.card import Metrics
from training.data import FaceSet, Split
from training.report import Report, Scored, measure

POOLED = "pooled"
"""The name of all data sets' held-out faces together."""

INT8_LOSS = 0.003
"""The held-out accuracy that int8 may cost and still be the default on CPUs."""


@dataclass(frozen=True)
class Evidence:
    """The logits of one file.

    Attributes:
        validation: per data set, the faces that choices are made on.
        held_out: per data set, the faces for results, the default precision and the calibration.
        unseen: per data set that was not trained on, the faces for results only.
    """

    validation: tuple[Scored, ...]
    held_out: dict[str, Scored]
    unseen: dict[str, Scored]

    @classmethod
    def gather(
        cls,
        network: nn.Module,
        splits: Sequence[Split],
        unseen: Sequence[FaceSet],
        evened: Mapping[str, float],
    ) -> Self:
        """Score every face with a loaded file, from sets that were `evened` out, by name."""
        held_out = [s.held_out for s in splits]
        return cls(
            validation=tuple(score(network, s.validation) for s in splits),
            held_out={s.name: score(network, s, evened.get(s.name, 0.0)) for s in held_out},
            unseen={faces.name: score(network, faces) for faces in unseen},
        )


@dataclass(frozen=True)
class Findings:
    """What follows from the evidence of ``fp32`` and ``int8``.

    Attributes:
        calibrations: by precision.
        threshold: the default abstention threshold, chosen on the scores of ``fp32``.
        agreement: by precision, the share of held-out faces with the same answer as ``fp32``.
        default: the default precision on CPUs.
        reason: the reason for this default.
        metrics: every report.
    """

    calibrations: dict[str, Calibration]
    threshold: float
    agreement: dict[str, float]
    default: str
    reason: str
    metrics: Metrics

    @classmethod
    def of(cls, evidence: dict[str, Evidence]) -> Self:
        """Fit, choose and measure."""
        held_out = {p: list(e.held_out.values()) for p, e in evidence.items()}
        calibrations = {p: fit_calibration(sets) for p, sets in held_out.items()}
        pooled = {p: Scored.pool(sets) for p, sets in held_out.items()}
        loss = round(pooled["fp32"].accuracy - pooled["int8"].accuracy, 6)
        fits = loss <= INT8_LOSS
        reason = (
            f"int8 {'costs' if loss > 0 else 'gains'} {100 * abs(loss):.2f} points of held-out "
            f"accuracy; it is the default if it costs at most {100 * INT8_LOSS:g} points"
        )
        held_out_reports = {p: cross_fitted(e.held_out) for p, e in evidence.items()}
        unseen = {
            p: {
                name: measure(faces, calibrations[p].scores(faces.logits))
                for name, faces in e.unseen.items()
            }
            for p, e in evidence.items()
        }
        return cls(
            calibrations=calibrations,
            threshold=choose_threshold(evidence["fp32"].validation, calibrations["fp32"]),
            agreement={p: scored.agreement(pooled["fp32"]) for p, scored in pooled.items()},
            default="int8" if fits else "fp32",
            reason=reason,
            metrics=Metrics(held_out=_by_data_set(held_out_reports), unseen=_by_data_set(unseen)),
        )


def cross_fitted(held_out: dict[str, Scored]) -> dict[str, Report]:
    """Reports per data set and pooled, each face calibrated by other faces."""
    sets = list(held_out.values())
    scores = cross_fitted_scores(sets)
    reports = [measure(*pair) for pair in zip(sets, scores, strict=True)]
    pooled = measure(Scored.pool(sets), np.concatenate(scores))
    return dict(zip([*held_out, POOLED], [*reports, pooled], strict=True))


def _by_data_set(reports: dict[str, dict[str, Report]]) -> dict[str, dict[str, Report]]:
    """Reports by precision and data set, regrouped by data set and precision."""
    return {name: {p: by[name] for p, by in reports.items()} for name in reports["fp32"]}
