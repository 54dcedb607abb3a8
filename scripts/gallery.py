"""Draw the figures of docs/explanations.md with the model in the store.

From the root of the repository::

    python -m scripts.gallery
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from service.drawing import COLORMAPS, Style, Subject, draw
from service.drawing.brush import MEDIUM, text_width, write
from service.drawing.heat import cut_face, heat_over
from service.drawing.palette import STONE, WHITE
from service.explanation import LAYERS, METHODS, Question
from service.faces import FRAMING, FaceDetector, cut
from service.imaging import decode
from service.model import Model, choose_device
from service.records import EMOTIONS, Picture, Prediction
from service.store import ModelStore

TILE, GUTTER, LINE, TYPE = 84, 8, 24, 13
NAMES = 86  # pixels for the row names


class Sitter:
    """The largest face of a photograph, and its explanations."""

    def __init__(self, store: ModelStore, picture: Picture) -> None:
        stored = store.gimefive()
        self._model = Model(stored, choose_device(stored.card, "cpu", "fp32"))
        self._face = FaceDetector(store.detector()).detect(picture)[0]
        self._frame = FRAMING.frame(self._face)
        self.picture = picture

    def explain(self, *questions: Question) -> list[Subject]:
        """The face with one explanation per question."""
        faces = np.repeat(cut(self.picture, self._frame)[None], len(questions), axis=0)
        prediction = Prediction(self._face, self._model.scores(faces[:1])[0])
        matrix = self._frame.matrix()
        answers = self._model.explain(faces, questions)
        return [Subject(prediction, matrix, answer) for answer in answers]


def tiles(sitter: Sitter, subjects: Sequence[Subject], styles: Sequence[Style]) -> list[Picture]:
    """The face with each heat map in its style."""
    face = cut_face(sitter.picture, subjects[0].crop, TILE)
    return [
        heat_over(face, subject.explanation.heat, style.alpha, style.colormap)
        for subject, style in zip(subjects, styles, strict=True)
    ]


def sheet(rows: Sequence[Sequence[Picture]], names: Sequence[str], heads: Sequence[str]) -> Picture:
    """A grid of tiles with column names above and row names on the left."""
    step, left = TILE + GUTTER, NAMES if any(names) else 0
    canvas = np.full((LINE + len(rows) * step, left + len(heads) * step, 3), WHITE, dtype=np.uint8)
    for column, head in enumerate(heads):
        middle = left + column * step + (TILE - text_width(head, TYPE, MEDIUM)) / 2
        write(canvas, middle, LINE - 8, head, TYPE, MEDIUM, STONE)
    for row, (name, cells) in enumerate(zip(names, rows, strict=True)):
        top = LINE + row * step
        if name:
            write(canvas, 0, top + TILE / 2 + 4, name, TYPE, MEDIUM, STONE)
        for column, cell in enumerate(cells):
            x = left + column * step
            canvas[top : top + TILE, x : x + TILE] = cell
    return canvas


def shrunk(picture: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """The picture, scaled down."""
    height, width = (round(length * scale) for length in picture.shape[:2])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def pictures(sitter: Sitter) -> dict[str, NDArray[np.uint8]]:
    """All figures by name."""
    plain = Style()
    (paper,) = sitter.explain(Question())
    (activations,) = sitter.explain(Question("activations"))
    by_method = [
        tiles(sitter, sitter.explain(*(Question(method, layer) for layer in LAYERS)), [plain] * 5)
        for method in METHODS
    ]
    targets = sitter.explain(*(Question("layercam", "conv4", index) for index in range(6)))
    scales = [Style(colormap=name) for name in COLORMAPS]
    return {
        "overlay": draw("overlay", sitter.picture, paper, plain),
        "panel": draw("panel", sitter.picture, paper, plain),
        "grid": shrunk(draw("grid", sitter.picture, activations, plain), 0.75),
        "methods": sheet(by_method, METHODS, LAYERS),
        "targets": sheet([tiles(sitter, targets, [plain] * 6)], [""], EMOTIONS),
        "colormaps": sheet([tiles(sitter, [paper] * 5, scales)], [""], COLORMAPS),
    }


def main(
    picture: Annotated[Path, typer.Argument(help="a photograph")] = Path(
        "examples/eileen-collins.jpg"
    ),
    store: Annotated[Path, typer.Option(help="the model store")] = Path("model_store"),
    out: Annotated[Path, typer.Option(help="folder for the figures")] = Path("docs/images"),
) -> None:
    """Draw all figures as PNG."""
    sitter = Sitter(ModelStore(store), decode(picture.read_bytes(), max_pixels=50_000_000))
    out.mkdir(parents=True, exist_ok=True)
    for name, drawn in pictures(sitter).items():
        path = out / f"{name}.png"
        Image.fromarray(drawn).save(path, optimize=True)
        typer.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    typer.run(main)
