"""One process's part of a run: its steps, reports and checkpoints."""

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training import origin
from training.augment import resize
from training.feed import Data
from training.network import EMOTIONS, GiMeFive, compiled, logits_of, with_measured_norms
from training.objective import Objective
from training.photographs import photographed
from training.recipe import Recipe
from training.saving import write, write_text
from training.sharpness import perturbed
from training.teaching import learned, lessons, taught

NORM_FACES = 512
"""Faces on which norms are estimated if a run starts from a version."""


@dataclass(frozen=True)
class Execution:
    """How a run is executed.

    Attributes:
        processes: the number that share each batch; cores are divided evenly among them.
        device: ``cpu``, or ``cuda`` with one GPU per process.
        checkpoint_steps: optimiser steps between checkpoints.
        reports: how many times the run evaluates its validation faces.
    """

    processes: int = 1
    device: str = "cpu"
    checkpoint_steps: int = 100
    reports: int = 10

    def of(self, rank: int) -> torch.device:
        """The device of one process."""
        return torch.device(self.device, rank) if self.device == "cuda" else torch.device("cpu")


@dataclass(frozen=True)
class Job:
    """The task of every process of a run.

    Attributes:
        recipe: the choices of the run.
        data: the training and validation faces.
        out: folder of the run.
        execution: processes, device and the like.
    """

    recipe: Recipe
    data: Data
    out: Path
    execution: Execution


@dataclass
class State:
    """The progress of a run, as kept in checkpoints.

    Attributes:
        step: optimiser steps done.
        history: a row per report.
        losses: float64, the sum of the first process's losses since the last report.
        unreported: the number of steps in that sum.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    losses: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    unreported: int = 0


class Run:
    """One process's part of a run."""

    def __init__(self, job: Job, rank: int) -> None:
        recipe = job.recipe
        self.recipe = recipe
        self.device = job.execution.of(rank)
        data = taught(job.data, recipe, self.device, job.out / "teachers.pt")
        self.data = photographed(data, recipe, job.out / "photographed.pt")
        self.lessons = lessons(self.data, recipe, self.device)
        self.out = job.out
        self.rank = rank
        self.execution = job.execution
        network = origin.initial_network(recipe)
        if isinstance(network, GiMeFive) and origin.is_version(recipe.start):
            some, _ = job.data.batch(range(NORM_FACES), recipe.seed)
            network = with_measured_norms(network, some).train()
        network.dropout.p *= recipe.dropout
        linear = recipe.dropout if recipe.linear_dropout is None else recipe.linear_dropout
        network.dropout_fc.p *= linear
        self.network = network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack this pair
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=get_ema_multi_avg_fn(recipe.ema),  # type: ignore[no-untyped-call]  # torch leaves it untyped
            use_buffers=True,
        )
        self.optimizer = _optimizer(self.network, recipe)
        class_weights = learned(job.data, recipe).class_weights(recipe.balance).to(self.device)
        self.objectives = [Objective(recipe, class_weights, each.teachers) for each in self.lessons]
        self.at = State()
        self.progress = _progress(shown=rank == 0)

    def go(self) -> None:
        """Train, or resume, to the end of the recipe."""
        self._resume()
        replica = DistributedDataParallel(
            compiled(self.network, self.device),
            forward_sync_buffers=False,
            gradient_as_bucket_view=True,
        )
        with self.progress:
            batch, last = self.recipe.batch, self.recipe.last
            bar = self.progress.add_task(
                "training", total=last * batch, completed=self.at.step * batch, rate="-"
            )
            for step in range(self.at.step, last):
                self._after(step, self._step(replica, step))
                speed = self.progress.tasks[bar].speed
                self.progress.update(bar, advance=batch, rate=f"{speed:.0f}" if speed else "-")
        self._finish()

    def _step(self, replica: DistributedDataParallel, step: int) -> Tensor:
        recipe = self.recipe
        seed = (recipe.seed * recipe.steps + step) * self.execution.processes + self.rank
        generator = torch.Generator(self.device).manual_seed(seed)
        turn, which = divmod(step, len(self.lessons))
        first = recipe.after + turn * recipe.batch
        numbers = range(first + self.rank, first + recipe.batch, self.execution.processes)
        faces, targets = self.lessons[which].data.batch(numbers, recipe.seed)
        inputs = recipe.augmentation(faces, recipe.pixels(step), generator)
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        self.optimizer.zero_grad()
        backward = partial(self._backward, replica, self.objectives[which], inputs, targets, seed)
        if recipe.sharpness:
            with replica.no_sync():  # each process perturbs by its own gradient
                loss = backward()
            with perturbed(self.network, recipe.sharpness):
                backward()
        else:
            loss = backward()
        self.optimizer.step()
        return loss

    def _backward(
        self,
        replica: nn.Module,
        objective: Objective,
        inputs: Tensor,
        targets: Tensor,
        seed: int,
    ) -> Tensor:
        """Accumulate the gradients of the loss, with randomness from `seed`; returns the loss."""
        torch.manual_seed(seed)
        with self.recipe.arithmetic(self.device):
            loss = objective(replica, inputs, targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return loss.detach()

    def _after(self, step: int, loss: Tensor) -> None:
        self.at.step = step + 1
        self.at.losses = self.at.losses + loss  # stays on its device: no synchronisation
        self.at.unreported += 1
        self.average.update_parameters(self.network)
        if self._due(self.execution.reports):
            self._report()
        if self.rank == 0 and (self.at.step % self.execution.checkpoint_steps == 0 or self._due(1)):
            self._save()

    def _due(self, times: int) -> bool:
        """Whether the run has just passed one of `times` evenly spaced points."""
        steps, done = self.recipe.last, self.at.step
        return done * times // steps > (done - 1) * times // steps

    def _finish(self) -> None:
        """Write the averaged weights, or the last ones if their validation loss is lower.

        In a short run the average lags behind, above all in the norms' statistics.
        """
        losses = []
        for network in (self.average.module, self.network):
            logits = self._validate(network, self.recipe.pixels(self.recipe.last - 1))
            losses.append(functional.cross_entropy(logits, self.data.validation_labels))
        if self.rank == 0:
            best = self.average.module if losses[0] <= losses[1] else self.network
            write(best.cpu().state_dict(), self.out / "weights.pt")
        dist.barrier()

    def _validate(self, network: nn.Module, pixels: int) -> Tensor:
        """The logits of all validation faces, computed by all processes together."""
        for buffer in network.buffers():  # the norms of each process have seen other faces
            dist.broadcast(buffer, src=0)
        faces = self.data.validation_faces
        logits = torch.zeros(len(faces), len(EMOTIONS))
        mine = slice(self.rank, None, self.execution.processes)
        logits[mine] = logits_of(network, resize(faces[mine], pixels), self.device)
        dist.all_reduce(logits)
        return logits

    def _report(self) -> None:
        pixels = self.recipe.pixels(self.at.step - 1)
        labels = self.data.validation_labels
        logits = self._validate(self.average.module, pixels)
        if self.rank > 0:
            return
        row = {
            "images": self.at.step * self.recipe.batch,
            "pixels": pixels,
            "learning_rate": self.recipe.rate(self.at.step - 1),
            "train_loss": float(self.at.losses) / self.at.unreported,
            "validation_loss": float(functional.cross_entropy(logits, labels)),
            "validation_accuracy": float((logits.argmax(dim=1) == labels).float().mean()),
        }
        self.at.history.append(row)
        self.at.losses, self.at.unreported = torch.zeros_like(self.at.losses), 0
        self.progress.console.print(
            f"{row['images']:>9,} images at {pixels} px: loss {row['train_loss']:.3f}, "
            f"validation {row['validation_loss']:.3f}, accuracy {row['validation_accuracy']:.1%}"
        )

    def _save(self) -> None:
        state = {
            "recipe": self.recipe.to_json(),
            "at": asdict(self.at),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        write_text(json.dumps(self.at.history, indent=1), self.out / "history.json")
        write(state, self.out / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.out / "checkpoint.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, map_location=self.device)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.at = State(**state["at"])


def _progress(*, shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} images"),
        TextColumn("{task.fields[rate]} images/s, left:"),
        TimeRemainingColumn(elapsed_when_finished=True),
        speed_estimate_period=120,
        disable=not shown,
    )


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    weights = [p for p in network.parameters() if p.dim() > 1]
    others = [p for p in network.parameters() if p.dim() == 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    rate = recipe.learning_rate
    if recipe.optimizer == "SGD":
        return torch.optim.SGD(groups, rate, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, rate, fused=True)
