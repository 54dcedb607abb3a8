"""The model card in Markdown: ``model_card.md`` filled in from ``card.json`` alone."""

from pathlib import Path
from string import Template

from training.card import Card, Source, calibrated_on, calibration
from training.evidence import POOLED
from training.markdown import UNKNOWN, paragraph, percent, table
from training.metrics import chance_calibration_error
from training.recipe_page import described
from training.report import Report, Share

SHOWN_THRESHOLDS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

FITTED = {
    "held_out": (
        "have the lowest NLL on the held-out faces, with equal weight for every data set. The "
        "held-out rows are cross-fitted: each tenth of the faces is scored with what was fitted on "
        "the other nine, so no face influences its own result."
    ),
    "validation": (
        "have the lowest NLL on the validation faces, with equal weight for every data set. "
        "Versions from 10 on use held-out faces instead, so their ECE is not quite comparable."
    ),
}
"""How temperature and exponent were fitted, by the part of the data sets that was used."""


def markdown(card: Card) -> str:
    """The page of a version."""
    template = Template(Path(__file__).with_name("model_card.md").read_text())
    default, reason = card["default_precision"], card["default_reason"]
    report = card["metrics"]["held_out"][POOLED][default["cpu"]]
    return template.substitute(
        name=card["name"],
        version=card["version"],
        labels=", ".join(card["labels"]),
        headline=_headline(default["cpu"], report),
        parameters=f"{card['parameters']:,}",
        files=_files(card),
        cpu=default["cpu"],
        cpu_reason=reason["cpu"],
        cuda=default["cuda"],
        cuda_reason=reason["cuda"],
        engine=card["precisions"]["int8"]["engine"],
        torch=card["torch"].split("+")[0],
        data=_data(card),
        learned=" except the calibration" if calibrated_on(card) == "held_out" else "",
        licences="\n".join(f"- {s['name']}: {_parts(s)}. {s['licence']}." for s in card["data"]),
        results=_results(card),
        agreement=f"{card['precisions']['int8']['agreement']:.1%}",
        emotions=_emotions(card, report),
        offsets=_offsets(card),
        evened=_evened(card),
        fitted=_fitted(card),
        calibration=_calibration(card),
        threshold=f"{card['threshold']:.2f}",
        coverage=_coverage(card, report),
        recipe=described(card["recipes"]),
        averaged=_averaged(card),
        robustness=_robustness(card),
        hardest=_hardest(report),
        commit=_commit(card["commit"]),
        command=card["command"],
        commands=_commands(card),
    )


def _headline(precision: str, pooled: Report) -> str:
    accuracy = pooled["accuracy"]
    low, high = percent(accuracy["low"]), percent(accuracy["high"])
    return paragraph(
        f"Pooled over all held-out faces, {precision} (the default on CPUs) reaches "
        f"**{percent(accuracy['value'])}% accuracy** (95% interval {low} to {high}) and "
        f"**{percent(pooled['macro_recall'])}% macro recall**."
    )


def _files(card: Card) -> str:
    rows = [
        [
            f"`{entry['file']}`",
            entry["parameters"],
            f"`{entry['sha256'][:16]}...`",
            f"{entry['bytes'] / 1e6:.1f} MB",
            f"{entry['temperature']:.4f}",
            f"{calibration(entry).exponent:.4f}",
        ]
        for entry in card["precisions"].values()
    ]
    header = ["file", "stored as", "SHA-256", "size", "temperature", "exponent"]
    return table(header, rows, words=3)


def _data(card: Card) -> str:
    labels = card["labels"]
    rows = [
        [s["name"], f"{s['images']:,}", *(f"{s['classes'][label]:,}" for label in labels)]
        for s in card["data"]
    ]
    return table(["data set", "images", *labels], rows)


def _parts(source: Source) -> str:
    parts = source["parts"]
    if "unseen" in parts:
        return "not trained on, evaluated in full"
    words = {"train": "for training", "validation": "for validation", "held_out": "held out"}
    return ", ".join(f"{parts[part]:,} {what}" for part, what in words.items())


def _measured(card: Card) -> list[tuple[str, str, Report]]:
    """Every report, with the name of its faces and its precision."""
    named = {f"{name}, held out": by for name, by in card["metrics"]["held_out"].items()}
    named |= {f"{name}, all": by for name, by in card["metrics"]["unseen"].items()}
    return [(name, p, report) for name, by in named.items() for p, report in by.items()]


def _results(card: Card) -> str:
    header = ["data set", "precision", "faces", "accuracy, %", "macro recall, %", "NLL", "ECE"]
    rows = [
        [
            name,
            precision,
            f"{report['images']:,}",
            _interval(report["accuracy"]),
            percent(report["macro_recall"]),
            f"{report['nll']['after']:.3f}",
            f"{report['ece']['after']:.3f}",
        ]
        for name, precision, report in _measured(card)
    ]
    return table(header, rows, words=2)


def _offsets(card: Card) -> str:
    if not any(round(value, 2) for value in card.get("offsets", {}).values()):
        return ""
    values = ", ".join(f"{label} {value:+.2f}" for label, value in card["offsets"].items())
    text = paragraph(
        "The loss gives rare emotions more weight, so the network predicts them too often. Offsets "
        f"of the logits, which are part of the files, correct this: {values}. They were fitted on "
        "the validation faces, together with a temperature (Alexandari et al., 2020)."
    )
    return f"{text}\n\n"


def _evened(card: Card) -> str:
    shares = card.get("evened", {})
    if not shares:
        return ""
    named = " and ".join(f"{name} (by {share:.0%})" for name, share in shares.items())
    text = paragraph(
        "Faces that look like those of some data sets are answered as if rare emotions were less "
        f"rare there: {named}, where 100% would mean that at least one face in six shows each "
        "emotion. This is part of the files, and the calibration counts rare faces accordingly. It "
        "finds more of them and may cost accuracy (`docs/adr/0015-rare-emotions.md`)."
    )
    return f"{text}\n\n"


def _fitted(card: Card) -> str:
    return paragraph(
        "Each face's logits are divided by `temperature / spread**exponent`, where the spread is "
        "their standard deviation (with a divisor of 6): above an exponent of 0, the scores of "
        "logits that spread further get sharper. Temperature and exponent (0 up to version 11) "
        + FITTED[calibrated_on(card)]
    )


def _averaged(card: Card) -> str:
    averaged = card.get("averaged", {})
    if len(averaged) < 2:
        return ""
    shares = ", ".join(f"`{folder}` {share:.0%}" for folder, share in averaged.items())
    text = paragraph(
        f"The weights are a mean, with shares chosen on the validation faces: {shares}. The recipe "
        "above is that of the first of these and of the runs that it continued."
    )
    return f"\n{text}\n"


def _calibration(card: Card) -> str:
    header = ["data set", "precision"]
    header += ["NLL, raw", "calibrated", "ECE, raw", "calibrated", "by chance"]
    rows = []
    for name, precision, report in _measured(card):
        nll, ece = report["nll"], report["ece"]
        filled = [(b["faces"], b["confidence"]) for b in report["reliability"] if b["confidence"]]
        chance = chance_calibration_error(filled)
        values = (nll["before"], nll["after"], ece["before"], ece["after"], chance)
        rows.append([name, precision, *(f"{value:.3f}" for value in values)])
    return table(header, rows, words=2)


def _emotions(card: Card, pooled: Report) -> str:
    precision = card["default_precision"]["cpu"]
    sets = {n: by[precision] for n, by in card["metrics"]["held_out"].items() if n != POOLED}
    rows = []
    for label in card["labels"]:
        recall, right = pooled["recall"][label], pooled["precision"][label]
        found = [percent(_value(report["recall"][label])) for report in sets.values()]
        faces = f"{recall['of']:,}" if recall else "0"
        rows.append([label, faces, _interval(recall), _interval(right), *found])
    return table(["emotion", "faces", "recall, %", "precision, %", *sets], rows)


def _coverage(card: Card, report: Report) -> str:
    rows = [
        [
            f"{row['threshold']:.2f}",
            percent(row["coverage"]),
            percent(row["accuracy"]),
        ]
        for row in report["coverage"]
        if row["threshold"] in (*SHOWN_THRESHOLDS, card["threshold"])
    ]
    return table(["threshold", "coverage, %", "accuracy, %"], rows, words=0)


def _robustness(card: Card) -> str:
    by_condition = card["robustness"]
    sets = list(next(iter(by_condition.values())))
    rows = [
        [condition, *(percent(by_set[name]["value"]) for name in sets)]
        for condition, by_set in by_condition.items()
    ]
    return table(["condition", *sets], rows)


def _hardest(report: Report) -> str:
    known = [(share["value"], label) for label, share in report["recall"].items() if share]
    return " and ".join(f"{label} ({value:.0%})" for value, label in sorted(known)[:2])


def _commit(commit: str | None) -> str:
    if not commit:
        return ""
    clean = commit.removesuffix("-dirty")
    return f", at commit `{clean}`" + (" with uncommitted changes" if commit != clean else "")


def _commands(card: Card) -> str:
    folder = f"model_store/{card['name']}/{card['version']}"
    trained_on = " ".join(s["file"] for s in card["data"] if "unseen" not in s["parts"])
    unseen = " ".join(s["file"] for s in card["data"] if "unseen" in s["parts"])
    cross_fitted = calibrated_on(card) == "held_out"
    lines = []
    for entry in card["precisions"].values():
        file = f"{folder}/{entry['file']}"
        if cross_fitted:
            lines.append(f"python -m training calibrate {file} {trained_on}")
        else:
            lines.append(f"python -m training evaluate {file} {trained_on} --part held_out")
        if unseen:
            lines.append(f"python -m training evaluate {file} {unseen}")
    return "\n".join(lines)


def _interval(share: Share | None) -> str:
    if share is None:
        return UNKNOWN
    return f"{percent(share['value'])} ({percent(share['low'])} to {percent(share['high'])})"


def _value(share: Share | None) -> float | None:
    return share["value"] if share else None
