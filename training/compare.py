"""Versions of the store side by side, from their cards."""

from collections.abc import Sequence
from pathlib import Path

from training.card import Card, read
from training.conditions import AS_THEY_ARE
from training.markdown import UNKNOWN, percent, table
from training.report import Report


def compare(folders: Sequence[Path]) -> str:
    """A Markdown table with a column per version, the highest last, and a row per measure.

    The values are those of each version's default precision on CPUs, calibrated.

    Raises:
        ExportError: one of `folders` contains no ``card.json``.
    """
    cards = sorted((read(folder) for folder in folders), key=lambda card: int(card["version"]))
    columns = [_measures(card) for card in cards]
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [[name, *(column.get(name, UNKNOWN) for column in columns)] for name in names]
    return table(["", *(f"version {card['version']}" for card in cards)], rows)


def _measures(card: Card) -> dict[str, str]:
    precision = card["default_precision"]["cpu"]
    column = {
        f"{name}: {measure}": value
        for name, by in (card["metrics"]["held_out"] | card["metrics"]["unseen"]).items()
        for measure, value in _reported(by[precision]).items()
    }
    return column | {
        f"{name}, {condition}: accuracy, %": percent(share["value"])
        for condition, by_set in card["robustness"].items()
        for name, share in by_set.items()
        if condition != AS_THEY_ARE
    }


def _reported(report: Report) -> dict[str, str]:
    return {
        "accuracy, %": percent(report["accuracy"]["value"]),
        "macro recall, %": percent(report["macro_recall"]),
        "NLL": f"{report['nll']['after']:.3f}",
        "ECE, %": percent(report["ece"]["after"]),
    }
