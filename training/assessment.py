"""What is measured of a version's files, as they were written."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from training.artefact import load, score
from training.card import File, Measured, Precision
from training.conditions import CONDITIONS, under
from training.data import FaceSet, Split
from training.evidence import Evidence, Findings


def assess(
    folder: Path,
    files: Mapping[str, File],
    splits: Sequence[Split],
    unseen: Sequence[FaceSet],
    evened: Mapping[str, float],
    say: Callable[[str], None],
) -> Measured:
    """Calibrate the files, measure them, and choose the threshold and the default precision.

    Args:
        folder: of the version.
        files: by precision.
        splits: the data sets it was trained on.
        unseen: data sets it was not trained on.
        evened: how far data sets were evened out, by name.
        say: reports progress.
    """
    modules = {p: load(folder / file["file"], file.get("engine")) for p, file in files.items()}
    evidence = {}
    for precision, module in modules.items():
        say(f"evaluating {files[precision]['file']}")
        evidence[precision] = Evidence.gather(module, splits, unseen, evened)
    findings = Findings.of(evidence)
    say("evaluating robustness")
    return Measured(
        precisions={p: _measured(file, findings, p) for p, file in files.items()},
        calibrated_on="held_out",
        threshold=findings.threshold,
        default_precision={"cpu": findings.default, "cuda": "fp16"},
        default_reason={
            "cpu": findings.reason,
            "cuda": "fp16 is the fp32 file in half precision, with the same calibration",
        },
        metrics=findings.metrics,
        robustness={
            condition: {
                s.held_out.name: score(
                    modules[findings.default], under(condition, s.held_out)
                ).share
                for s in splits
            }
            for condition in CONDITIONS
        },
    )


def _measured(file: File, findings: Findings, precision: str) -> Precision:
    calibration = findings.calibrations[precision]
    return {
        **file,
        "temperature": calibration.temperature,
        "exponent": calibration.exponent,
        "agreement": findings.agreement[precision],
    }
