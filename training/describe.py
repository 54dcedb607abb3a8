"""The README and figures of a version, made from its card alone."""

from pathlib import Path

from training.card import read
from training.pictures import draw_confusion, draw_curves, draw_reliability
from training.readme import markdown


def describe(folder: Path) -> None:
    """Write ``README.md``, ``curves.png``, ``confusion.png`` and ``reliability.png``.

    Raises:
        ExportError: there is no ``card.json`` in `folder`.
    """
    card = read(folder)
    precision = card["default_precision"]["cpu"]
    held_out = {name: by[precision] for name, by in card["metrics"]["held_out"].items()}
    draw_curves(card["history"], folder / "curves.png")
    draw_confusion(held_out, folder / "confusion.png")
    draw_reliability(held_out["pooled"], card["threshold"], folder / "reliability.png")
    (folder / "README.md").write_text(markdown(card))
