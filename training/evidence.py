"""What the written files say about faces they did not learn from, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import nn

from training.artefact import score
from training.calibrate import choose_threshold, fit_temperature, temperatures_of_others
from training.card import Metrics
from training.data import FaceSet, Split
from training.report import Report, Scored, measure

POOLED = "pooled"
"""What the held-out faces of all data sets together are called."""

INT8_LOSS = 0.003
"""How much held-out accuracy 8 bits may cost and still be the default on processors."""


@dataclass(frozen=True)
class Evidence:
    """What one file says.

    Attributes:
        validation: per data set, faces that choices are made on.
        held_out: per data set, faces that are reported, decide the precision and calibrate it.
        unseen: per data set of which no part was learned, faces that are reported alone.
    """

    validation: tuple[Scored, ...]
    held_out: dict[str, Scored]
    unseen: dict[str, Scored]

    @classmethod
    def gather(cls, network: nn.Module, splits: Sequence[Split], unseen: Sequence[FaceSet]) -> Self:
        """Ask a loaded file about every face."""
        return cls(
            validation=tuple(score(network, s.validation) for s in splits),
            held_out={s.held_out.name: score(network, s.held_out) for s in splits},
            unseen={faces.name: score(network, faces) for faces in unseen},
        )


@dataclass(frozen=True)
class Findings:
    """What follows from the evidence of ``fp32`` and ``int8``.

    Attributes:
        temperatures: by precision.
        threshold: the default for abstaining, chosen on the scores of ``fp32``.
        agreement: by precision, the part of held-out answers that are those of ``fp32``.
        default: the precision to use on processors.
        reason: why.
        metrics: every report.
    """

    temperatures: dict[str, float]
    threshold: float
    agreement: dict[str, float]
    default: str
    reason: str
    metrics: Metrics

    @classmethod
    def of(cls, evidence: dict[str, Evidence]) -> Self:
        """Fit, choose and measure."""
        held_out = {p: list(e.held_out.values()) for p, e in evidence.items()}
        temperatures = {p: fit_temperature(sets) for p, sets in held_out.items()}
        pooled = {p: Scored.pool(sets) for p, sets in held_out.items()}
        loss = round(pooled["fp32"].accuracy - pooled["int8"].accuracy, 6)
        fits = loss <= INT8_LOSS
        reason = (
            f"int8 {'costs' if loss > 0 else 'gains'} {100 * abs(loss):.2f} points of held-out "
            f"accuracy; it is the default where it costs {100 * INT8_LOSS:g} points at most"
        )
        return cls(
            temperatures=temperatures,
            threshold=choose_threshold(evidence["fp32"].validation, temperatures["fp32"]),
            agreement={p: scored.agreement(pooled["fp32"]) for p, scored in pooled.items()},
            default="int8" if fits else "fp32",
            reason=reason,
            metrics=Metrics(
                held_out=_by_name({p: cross_fitted(e.held_out) for p, e in evidence.items()}),
                unseen=_by_name(
                    {
                        p: {
                            name: measure(faces, temperatures[p])
                            for name, faces in e.unseen.items()
                        }
                        for p, e in evidence.items()
                    }
                ),
            ),
        )


def cross_fitted(held_out: dict[str, Scored]) -> dict[str, Report]:
    """Reports of each data set and of all pooled, faces at temperatures that others decided."""
    sets = list(held_out.values())
    temperatures = temperatures_of_others(sets)
    reports = [measure(*pair) for pair in zip(sets, temperatures, strict=True)]
    pooled = measure(Scored.pool(sets), np.concatenate(temperatures))
    return dict(zip([*held_out, POOLED], [*reports, pooled], strict=True))


def _by_name(reports: dict[str, dict[str, Report]]) -> dict[str, dict[str, Report]]:
    """By data set and precision what is given by precision and data set."""
    return {name: {p: by[name] for p, by in reports.items()} for name in reports["fp32"]}
