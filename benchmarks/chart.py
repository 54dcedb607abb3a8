"""The results of `benchmarks.compare` as a figure."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw throughput by connections, limits by batch size, and scaling of processes and memory."""
    kinds = list(report["systems"])
    figure, rows = plt.subplots(2, max(3, len(kinds)), figsize=(15, 8), squeeze=False)
    for axes in rows.ravel():
        axes.set_visible(False)
    names = dict.fromkeys(name for found in report["systems"].values() for name in found)
    colours = {name: f"C{index}" for index, name in enumerate(names)}
    for axes, kind in zip(rows[0], kinds, strict=False):
        _systems(axes, kind, report["systems"][kind], max(report["limit"][kind].values()), colours)
    figure.legend(*rows[0][0].get_legend_handles_labels(), loc="upper center", ncols=len(names) + 1)
    _limits(rows[1][0], report["limit"])
    extras = report.get("extras", {})
    if "processes" in extras:
        _line(rows[1][1], extras["processes"], "model processes", "images/s, bare model file")
    held = extras.get("memory_by_queue", {"failed": ""})
    if "failed" not in held:
        megabytes = {items: value / 1e6 for items, value in held.items()}
        _line(rows[1][2], megabytes, "queue size, faces", "peak MB at three times capacity")
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _systems(
    axes: Axes, kind: str, found: dict[str, Any], best: float, colours: dict[str, str]
) -> None:
    axes.set_visible(True)
    for name, system in found.items():
        loops = system.get("connections", {})
        if loops:
            rates = [loop["rate"] for loop in loops.values()]
            width = 3 if name == "gimefive" else 1
            axes.plot(list(loops), rates, "o-", label=name, color=colours[name], linewidth=width)
    axes.axhline(best, color="grey", linestyle="--", label="bare model file")
    axes.set(title=kind, xlabel="connections", ylabel="images/s", ylim=(0, None))


def _limits(axes: Axes, limits: dict[str, dict[str, float]]) -> None:
    axes.set_visible(True)
    for kind, by_batch in limits.items():
        axes.plot(list(by_batch), list(by_batch.values()), "o-", label=kind)
    axes.set(xlabel="batch size", ylabel="images/s, bare model file", ylim=(0, None))
    axes.legend(fontsize=8)


def _line(axes: Axes, values: dict[str, float], xlabel: str, ylabel: str) -> None:
    axes.set_visible(True)
    axes.plot(list(values), list(values.values()), "o-")
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, 1.1 * max(values.values())))
