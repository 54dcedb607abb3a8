"""The figures of a model card: few colours, thin lines, every axis labelled with its unit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from training.network import EMOTIONS
from training.report import BinRow, Report

INK, GREY, BLUE, ORANGE = "#22313f", "#8a97a3", "#1f6f9f", "#d9742b"
BLUES = LinearSegmentedColormap.from_list(
    "gimefive", ["#f6f9fb", "#c3dae9", "#6aa6cc", "#1f6f9f", "#0d3552"]
)
STYLE: Any = {
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.dpi": 150,
    "figure.facecolor": "white",
    "font.size": 9,
    "grid.color": "#e6eaee",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
LABELLED = 0.09
"""Share of a run that a stage must take for the label of its resolution to fit above it."""

DOTS: dict[str, Any] = {"marker": "o", "markersize": 3.5, "clip_on": False, "zorder": 3}


def draw_curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss and validation accuracy during training; bands show the resolution."""
    images = [row["images"] for row in history]
    with _figure(path, 9, 3.4) as figure:
        loss, accuracy = figure.subplots(1, 2)
        for axes in (loss, accuracy):
            _bands(axes, history)
            axes.set_xlabel("image passes")
            axes.xaxis.set_major_locator(MaxNLocator(6))
            axes.xaxis.set_major_formatter(EngFormatter())
        for name, colour in (("train", GREY), ("validation", BLUE)):
            values = [row[f"{name}_loss"] for row in history]
            loss.plot(images, values, color=colour, label=name, **DOTS)
        loss.legend(loc="upper right")
        loss.set_title("Loss, nats", pad=18)
        shares = [row["validation_accuracy"] for row in history]
        accuracy.plot(images, shares, color=BLUE, **DOTS)
        accuracy.yaxis.set_major_formatter(PercentFormatter(1))
        accuracy.set_title("Validation accuracy of the averaged weights", pad=18)


def draw_confusion(reports: Mapping[str, Report], path: Path) -> None:
    """One confusion matrix per data set, each row in percent of its faces."""
    columns = min(2, len(reports))
    rows = -(-len(reports) // columns)
    with _figure(path, 4.6 * columns, 4.2 * rows) as figure:
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (name, report) in zip(grid.flat, reports.items(), strict=False):
            _confusion(axes, name, report)
        for axes in grid.flat[len(reports) :]:
            axes.set_visible(False)


def draw_reliability(report: Report, threshold: float, path: Path) -> None:
    """Reliability diagram, and accuracy against coverage."""
    with _figure(path, 9, 3.9) as figure:
        reliability, selective = figure.subplots(1, 2)
        _reliability(reliability, report)
        _coverage(selective, report, threshold)


def draw_report(name: str, report: Report, path: Path) -> None:
    """Confusion matrix and reliability diagram of one data set."""
    with _figure(path, 9.4, 4.2) as figure:
        confusion, reliability = figure.subplots(1, 2)
        _confusion(confusion, name, report)
        _reliability(reliability, report)


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure in the common style, saved as PNG when the block ends."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        figure.savefig(path, metadata={"Software": None})


def _bands(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    start = 0.0
    for i, row in enumerate(history):
        last = i + 1 == len(history)
        if last or history[i + 1]["pixels"] != row["pixels"]:
            end = row["images"]
            shade = 0.16 * (row["pixels"] / 64) ** 2
            axes.axvspan(start, end, color=BLUE, alpha=shade, linewidth=0)
            if end - start > LABELLED * history[-1]["images"]:
                at = (start + end) / 2
                transform = axes.get_xaxis_transform()
                label = f"{row['pixels']} px"
                axes.text(at, 1.02, label, transform=transform, ha="center", color=GREY, size=8)
            start = end
    axes.set_xlim(0, start)


def _confusion(axes: Axes, name: str, report: Report) -> None:
    counts = np.array(report["confusion"])
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    axes.imshow(shares, cmap=BLUES, vmin=0, vmax=1)
    for row, column in np.ndindex(*shares.shape):
        share = shares[row, column]
        colour = "white" if share > 0.5 else INK if share >= 0.05 else GREY
        axes.text(column, row, f"{share:.0%}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=35, ha="right")
    axes.set_yticks(range(len(EMOTIONS)), EMOTIONS)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("prediction")
    axes.set_ylabel("label")
    axes.set_title(f"{name}: {report['accuracy']['value']:.1%} of {report['images']:,} correct")


def _reliability(axes: Axes, report: Report) -> None:
    axes.grid(visible=True)
    axes.set_axisbelow(True)
    shares = [row["faces"] / report["images"] for row in report["reliability"]]
    lows = [row["low"] for row in report["reliability"]]
    width = report["reliability"][0]["high"]
    axes.bar(lows, shares, width, align="edge", color="#dfe7ed", edgecolor="white")
    axes.text(0.98, max(shares) + 0.02, "share of faces", ha="right", color=GREY)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    _points(axes, report["reliability_before"], f"raw, ECE {report['ece']['before']:.3f}", ORANGE)
    _points(axes, report["reliability"], f"calibrated, ECE {report['ece']['after']:.3f}", BLUE)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, columnspacing=1.2)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy")
    axes.set_title("Reliability")


def _points(axes: Axes, bins: Sequence[BinRow], label: str, colour: str) -> None:
    points = [(b["confidence"], b["accuracy"]) for b in bins if b["faces"]]
    axes.plot(*zip(*points, strict=True), color=colour, label=label, **DOTS)


def _coverage(axes: Axes, report: Report, threshold: float) -> None:
    axes.grid(visible=True)
    rows = [
        (row["threshold"], row["coverage"], row["accuracy"])
        for row in report["coverage"]
        if row["accuracy"] is not None
    ]
    axes.plot([row[1] for row in rows], [row[2] for row in rows], color=BLUE, **DOTS)
    for _, answered, right in (row for row in rows if row[0] == threshold):
        axes.plot(answered, right, "o", markersize=9, color=ORANGE, zorder=4)
        left = answered > 0.5
        axes.annotate(
            f"threshold {threshold:.2f}",
            (answered, right),
            xytext=(-9 if left else 9, -9 if left else 9),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            color=ORANGE,
        )
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlim=(0, 1.02), xlabel="coverage", ylabel="accuracy")
    axes.set_title("Accuracy against coverage")
