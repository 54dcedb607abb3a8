"""The share of faces with an empty Grad-CAM map, before and after folding the norms.

From the root of the repository::

    python -m scripts.empty_maps runs/second raf-db-train.zip
"""

from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from training.data import read, split
from training.network import GiMeFive, with_folded_norms
from training.recipe import Recipe


def main(
    run: Annotated[Path, typer.Argument(help="folder of a finished run")],
    data: Annotated[Path, typer.Argument(help="a data set it was trained on")],
    count: Annotated[int, typer.Option(help="number of held-out faces")] = 200,
) -> None:
    """Print the share of held-out faces whose map for the predicted emotion is empty."""
    network = GiMeFive().eval()
    network.load_state_dict(torch.load(run / "weights.pt", map_location="cpu"))
    held_out = split(read(data), Recipe.load(run / "recipe.json").seed).held_out
    faces = torch.from_numpy(held_out.faces[:count].copy())
    for layer in (5, 4, 3):
        before = empty(network, faces, layer)
        after = empty(with_folded_norms(network), faces, layer)
        typer.echo(f"conv{layer}: {before:.1%} empty as trained, {after:.1%} folded")


def empty(network: GiMeFive, faces: Tensor, layer: int) -> float:
    """The share of faces ``[N, 64, 64]`` whose map at convolution `layer` is nowhere above zero."""
    with torch.no_grad():
        maps = network.features(faces, layer)
    maps.requires_grad_()
    logits = network.head(maps, layer)
    (gradients,) = torch.autograd.grad(logits.amax(dim=1).sum(), maps)
    heat = (gradients.mean(dim=(2, 3), keepdim=True) * maps).sum(dim=1)
    return float((heat.amax(dim=(1, 2)) <= 0).float().mean())


if __name__ == "__main__":
    typer.run(main)
