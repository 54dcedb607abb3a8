"""Training runs: resuming, starting weights, distillation, folds and rejected combinations."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException
from torch.nn import functional

from tests.servers import wait_for_the_end_of
from tests.training.conftest import Exported
from tests.training.generated import noise_faces
from tests.training.in_process import train_in_process
from tests.waiting import wait_until
from training import origin
from training import train as training_train
from training.artefact import load
from training.augment import Augmentation, resize
from training.data import split
from training.errors import RunError
from training.feed import Data
from training.network import GiMeFive, logits_of
from training.origin import lineage
from training.recipe import Recipe, Stage
from training.run import Execution, _optimizer
from training.teaching import lessons
from training.train import prepare, train

RECIPE = Recipe(images=32, batch=8, stages=(Stage(0.75, 32), Stage(0.25, 40)), seed=5)
NO_AUGMENTATION = Augmentation(
    flip=0, rotation=0, scale=0, shift=0, contrast=0, brightness=0, erasing=0, blur=0
)
TWO_PROCESSES = Execution(processes=2, checkpoint_steps=2, reports=1)


class KillingData(Data):
    """Kills the first process at its fourth step; the others may fail for want of it."""

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        if numbers.start == 3 * RECIPE.batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(numbers, seed)


class DrawError(Exception):
    """Raised when faces are drawn that a test waits for or forbids."""


class PositionRaisingData(Data):
    """Raises the position of the first draw."""

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002  # nothing is drawn
        raise DrawError(numbers.start)


class RepeatingData(Data):
    """Returns the same faces at every step."""

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        return super().batch(range(len(numbers)), seed)


def make_data(kind: type[Data] = Data) -> Data:
    train_sets = [noise_faces("one", each=5), noise_faces("two", each=2, seed=1)]
    return kind.of(train_sets, [noise_faces("three", each=1, seed=2)])


def test_killed_run_resumes_from_its_checkpoint_with_identical_weights(tmp_path: Path) -> None:
    whole = torch.load(train(RECIPE, make_data(), tmp_path / "whole", TWO_PROCESSES))
    torch.manual_seed(RECIPE.seed)
    initial = GiMeFive().state_dict()
    assert not any(torch.equal(initial[name], whole[name]) for name in initial)

    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        train(RECIPE, make_data(KillingData), tmp_path / "killed", TWO_PROCESSES)
    assert torch.load(tmp_path / "killed" / "checkpoint.pt")["at"]["step"] == 2
    assert not (tmp_path / "killed" / "weights.pt").exists()
    resumed = torch.load(train(RECIPE, make_data(), tmp_path / "killed", TWO_PROCESSES))

    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    histories = [(tmp_path / name / "history.json").read_text() for name in ("whole", "killed")]
    assert histories[0] == histories[1]


def test_worker_processes_end_when_a_background_parent_is_killed(tmp_path: Path) -> None:
    """Otherwise they would keep writing to the folder of the restarted run."""
    begin = (
        "import signal, sys; from tests.training.test_train import *;"
        "signal.signal(signal.SIGINT, signal.SIG_IGN);"  # as a shell does for background jobs
        "endless, often = replace(RECIPE, images=10**9), "
        "replace(TWO_PROCESSES, checkpoint_steps=1);"
        "train(endless, make_data(), Path(sys.argv[1]), often)"
    )
    with subprocess.Popen([sys.executable, "-c", begin, tmp_path]) as parent:
        wait_until((tmp_path / "checkpoint.pt").exists)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) >= TWO_PROCESSES.processes
        parent.kill()
        wait_for_the_end_of([int(pid) for pid in children])


def test_until_ends_the_run_early_on_the_full_learning_rate_schedule(tmp_path: Path) -> None:
    recipe = replace(RECIPE, until=0.5)
    train_in_process(recipe, make_data(), tmp_path)
    assert (tmp_path / "weights.pt").exists()
    assert torch.load(tmp_path / "checkpoint.pt")["at"]["step"] == RECIPE.steps // 2
    _, history = lineage(tmp_path)
    assert history[-1]["images"] == RECIPE.images // 2
    assert history[-1]["learning_rate"] == RECIPE.rate(RECIPE.steps // 2 - 1) > 0


def test_after_sets_the_position_of_the_first_draw(tmp_path: Path) -> None:
    with pytest.raises(DrawError, match="24"):
        train_in_process(replace(RECIPE, after=24), make_data(PositionRaisingData), tmp_path)


@pytest.mark.parametrize(("images", "learning_rate"), [(16, 0.002), (160, 0.05)])
def test_run_keeps_last_or_averaged_weights_with_the_lower_validation_loss(
    images: int, learning_rate: float, tmp_path: Path
) -> None:
    """After two steps the average lags behind; after large steps the last weights may be worse."""
    stages = (Stage(1.0, 32),)
    recipe = Recipe(images=images, batch=8, learning_rate=learning_rate, stages=stages)
    data = make_data()
    kept = torch.load(train_in_process(recipe, data, tmp_path))
    state = torch.load(tmp_path / "checkpoint.pt")
    average = {name.removeprefix("module."): value for name, value in state["average"].items()}
    del average["n_averaged"]
    losses = []
    for weights in (state["network"], average):
        network = GiMeFive()
        network.load_state_dict(weights)
        logits = logits_of(network, resize(data.validation_faces, 32))
        losses.append(float(functional.cross_entropy(logits, data.validation_labels)))
    better = state["network"] if losses[0] < losses[1] else average
    assert all(torch.equal(better[name], kept[name]) for name in kept)


def test_reported_loss_is_the_mean_since_the_previous_report(tmp_path: Path) -> None:
    for reports in (2, 4):
        train_in_process(RECIPE, make_data(), tmp_path / str(reports), Execution(reports=reports))
    of_two, of_one = losses(tmp_path / "2"), losses(tmp_path / "4")
    pairs = zip(of_one[::2], of_one[1::2], strict=True)
    assert of_two == pytest.approx([sum(pair) / 2 for pair in pairs])
    assert len(set(of_one)) == 4


@pytest.mark.parametrize(("dropout", "linear"), [(0.0, None), (1.0, None), (1.0, 0.0), (0.0, 1.0)])
def test_loss_of_repeated_faces_is_constant_only_without_dropout(
    dropout: float, linear: float | None, tmp_path: Path
) -> None:
    recipe = replace(
        RECIPE,
        images=16,
        learning_rate=0.0,
        dropout=dropout,
        linear_dropout=linear,
        stages=(Stage(1.0, 32),),
        augmentation=NO_AUGMENTATION,
    )
    train_in_process(recipe, make_data(RepeatingData), tmp_path, Execution(reports=2))
    first, second = json.loads((tmp_path / "history.json").read_text())
    assert (first["train_loss"] == second["train_loss"]) == (not dropout and not linear)


def test_bfloat16_run_has_similar_losses_and_keeps_float32_weights(
    tmp_path: Path,
) -> None:
    frozen = replace(RECIPE, learning_rate=0.0)
    losses = []
    for name, recipe in (("full", frozen), ("half", replace(frozen, precision="bf16"))):
        kept = torch.load(train_in_process(recipe, make_data(), tmp_path / name))
        assert kept["conv1.weight"].dtype == torch.float32
        losses.append(
            [
                row["train_loss"]
                for row in json.loads((tmp_path / name / "history.json").read_text())
            ]
        )
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_sharpness_step_uses_the_gradient_at_perturbed_weights(tmp_path: Path) -> None:
    recipe = Recipe(
        images=8,
        batch=8,
        optimizer="SGD",
        weight_decay=0.0,
        label_smoothing=0.0,
        dropout=0.0,
        balance=0.0,
        stages=(Stage(1.0, 32),),
        augmentation=NO_AUGMENTATION,
        sharpness=0.2,
    )
    train_in_process(recipe, make_data(), tmp_path)
    stepped = torch.load(tmp_path / "checkpoint.pt")["network"]

    torch.manual_seed(recipe.seed)
    network = GiMeFive()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    network.dropout.p = network.dropout_fc.p = 0.0
    weights = dict(network.named_parameters())
    faces, targets = make_data().batch(range(8), recipe.seed)
    inputs = NO_AUGMENTATION(faces, 32, torch.Generator())

    def gradients() -> dict[str, Tensor]:
        loss = functional.cross_entropy(network(inputs), targets)
        return dict(zip(weights, torch.autograd.grad(loss, [*weights.values()]), strict=True))

    def flattened(each: dict[str, Tensor]) -> Tensor:
        return torch.cat([values.flatten() for values in each.values()])

    uphill = gradients()
    original = {name: weight.detach().clone() for name, weight in weights.items()}
    for name, weight in weights.items():
        weight.data.add_(uphill[name] * 0.2 / flattened(uphill).norm())
    perturbed = gradients()
    step = flattened({name: original[name] - stepped[name] for name in original})
    length = 1.9 * recipe.rate(0)  # factor of the first step with Nesterov momentum
    assert (step - length * flattened(perturbed)).norm() < 0.03 * step.norm()
    assert (step - length * flattened(uphill)).norm() > 0.1 * step.norm()


def test_run_starts_from_the_weights_of_another_run(tmp_path: Path) -> None:
    first = torch.load(train_in_process(RECIPE, make_data(), tmp_path / "first"))
    frozen = replace(RECIPE, images=8, learning_rate=0.0, start=str(tmp_path / "first"))
    kept = torch.load(train_in_process(frozen, make_data(), tmp_path / "second"))
    assert all(torch.equal(first[name], kept[name]) for name in first if "weight" in name)


def test_run_starts_from_a_stored_version_and_continues_its_lineage(
    exported: Exported, tmp_path: Path
) -> None:
    frozen = replace(RECIPE, images=8, learning_rate=0.0, start=str(exported.folder))
    run = train_in_process(frozen, make_data(), tmp_path / "run").parent
    kept = torch.load(run / "weights.pt")
    stored = load(exported.folder / "model.fp32.pt").state_dict()
    assert all(torch.equal(stored[name], kept[name]) for name in stored if "bn" not in name)
    recipes, history = lineage(run)
    assert [recipe.images for recipe in recipes] == [500, 300, 8]
    assert history[-1]["images"] == 500 + 500 + 8


def test_teacher_answers_are_averaged_over_teachers_and_mirror_images(
    exported: Exported, tmp_path: Path
) -> None:
    first = train_in_process(RECIPE, make_data(), tmp_path / "first")
    teachers = (str(first.parent), str(exported.folder))
    taught = replace(RECIPE, teachers=teachers, teaching=0.9)
    second = train(taught, make_data(), tmp_path / "second", TWO_PROCESSES)
    networks = [GiMeFive(), GiMeFive()]
    networks[0].load_state_dict(torch.load(first))
    networks[1].load_state_dict(load(exported.folder / "model.fp32.pt").state_dict())
    answers = torch.load(second.with_name("teachers.pt"))
    views = (make_data().faces, make_data().faces.flip(2))
    each = [torch.softmax(logits_of(n, view), 1) for n in networks for view in views]
    torch.testing.assert_close(answers, sum(each) / 4)
    assert not torch.equal(torch.load(first)["fc3.weight"], torch.load(second)["fc3.weight"])


def test_teacher_answers_are_computed_in_the_precision_of_the_run(
    exported: Exported, tmp_path: Path
) -> None:
    taught = replace(RECIPE, images=8, teachers=(str(exported.folder),))
    answers = {}
    for precision in ("fp32", "bf16"):
        run = train_in_process(
            replace(taught, precision=precision), make_data(), tmp_path / precision
        )
        answers[precision] = torch.load(run.with_name("teachers.pt"))
    torch.testing.assert_close(answers["bf16"], answers["fp32"], rtol=0, atol=0.05)
    assert not torch.equal(answers["bf16"], answers["fp32"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_gpu_run_has_the_losses_of_a_cpu_run_and_saves_cpu_tensors(
    exported: Exported, tmp_path: Path
) -> None:
    recipe = replace(
        RECIPE,
        learning_rate=0.0,
        dropout=0.0,
        augmentation=NO_AUGMENTATION,
        teachers=(str(exported.folder),),
        teachers_see="inputs",
    )
    losses = []
    for device in ("cpu", "cuda"):
        weights = train(recipe, make_data(), tmp_path / device, Execution(device=device))
        assert all(value.device.type == "cpu" for value in torch.load(weights).values())
        history = json.loads((tmp_path / device / "history.json").read_text())
        losses.append([row["train_loss"] for row in history])
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_teacher_of_the_inputs_affects_the_loss_without_cached_answers(
    exported: Exported, tmp_path: Path
) -> None:
    losses = {}
    for teaching in (0.0, 1.0):
        recipe = replace(
            RECIPE,
            images=8,
            learning_rate=0.0,
            teachers=(str(exported.folder),),
            teachers_see="inputs",
            teaching=teaching,
        )
        folder = train_in_process(recipe, make_data(), tmp_path / str(teaching)).parent
        assert not (folder / "teachers.pt").exists()
        losses[teaching] = json.loads((folder / "history.json").read_text())[0]["train_loss"]
    assert losses[0.0] != losses[1.0]


class FoldCheckingData(Data):
    """Raises if a face of fold 1 of 2 is drawn."""

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        faces, targets = super().batch(numbers, seed)
        folds = dict(zip(map(bytes, self.faces.numpy()), self.folds(2).tolist(), strict=True))
        if {folds[bytes(face)] for face in faces.numpy()} != {0}:
            raise DrawError
        return faces, targets


def test_run_draws_no_face_of_the_fold_it_leaves_out(tmp_path: Path) -> None:
    recipe = replace(RECIPE, folds=2, left_out=1)
    train_in_process(recipe, make_data(FoldCheckingData), tmp_path / "without")
    with pytest.raises(DrawError):
        train_in_process(
            replace(recipe, left_out=0), make_data(FoldCheckingData), tmp_path / "with"
        )


def test_trained_weights_do_not_depend_on_labels_of_the_left_out_fold(
    tmp_path: Path,
) -> None:
    data = make_data()
    labels = torch.where(data.folds(2) == 1, 3, data.labels)
    other = replace(data, labels=labels, targets=torch.eye(6)[labels])
    recipe = replace(RECIPE, images=8, folds=2, left_out=1)
    one, two = (
        torch.load(train_in_process(recipe, data, tmp_path / "one")),
        torch.load(train_in_process(recipe, other, tmp_path / "two")),
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def fold_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two finished runs, each of which left out one of two folds."""
    parent_folder = tmp_path_factory.mktemp("folds")

    def run(fold: int) -> Path:
        recipe = replace(RECIPE, images=8, folds=2, left_out=fold)
        return train_in_process(recipe, make_data(), parent_folder / str(fold)).parent

    return run(0), run(1)


def cross_fitted_recipe(*teachers: Path, **changes: Any) -> Recipe:  # noqa: ANN401  # any field of a recipe
    names = tuple(map(str, teachers))
    return replace(RECIPE, **{"folds": 2, "teachers": names, "teachers_see": "inputs", **changes})


def test_each_lesson_is_one_fold_taught_by_the_run_that_left_it_out(
    fold_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    for fold, lesson in enumerate(
        lessons(make_data(), cross_fitted_recipe(*fold_runs), torch.device("cpu"))
    ):
        assert set(lesson.data.folds(2).tolist()) == {fold}
        (teacher,) = lesson.teachers
        own = torch.load(fold_runs[fold] / "weights.pt")
        assert all(torch.equal(own[name], value) for name, value in teacher.state_dict().items())

    swapped = [shutil.copytree(folder, tmp_path / folder.name) for folder in fold_runs]
    for folder, other in zip(swapped, reversed(fold_runs), strict=True):
        shutil.copy(other / "weights.pt", folder)
    losses_by_teachers = []
    for name, teachers in (("taught", fold_runs), ("mistaught", swapped)):
        recipe = cross_fitted_recipe(
            *teachers, images=16, learning_rate=0.0, dropout=0.0, teaching=1.0
        )
        train_in_process(recipe, make_data(), tmp_path / name, Execution(reports=2))
        losses_by_teachers.append(losses(tmp_path / name))
    assert not set(losses_by_teachers[0]) & set(losses_by_teachers[1])


def test_teachers_that_know_labels_they_should_not_are_rejected(
    fold_runs: tuple[Path, Path], exported: Exported
) -> None:
    one, whole = fold_runs[0], exported.run
    for recipe, message in (
        (cross_fitted_recipe(one), "leave out each of 2 folds"),
        (cross_fitted_recipe(*fold_runs, folds=3), "leave out each of 3 folds"),
        (cross_fitted_recipe(*fold_runs, whole), "and each teacher one of them"),
        (
            cross_fitted_recipe(*fold_runs, teachers_see="faces"),
            "answer `inputs` or `mirrored`, not",
        ),
    ):
        with pytest.raises(RunError, match=message):
            origin.check(recipe)
    origin.check(cross_fitted_recipe(*fold_runs))
    origin.check(cross_fitted_recipe(one, left_out=0, start=str(one)))
    origin.check(cross_fitted_recipe(left_out=1, start=str(whole)))


def test_a_teacher_that_knows_the_left_out_fold_is_asked_about_other_faces_only(
    fold_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    recipe = cross_fitted_recipe(fold_runs[0], left_out=1, images=8)
    train_in_process(recipe, make_data(FoldCheckingData), tmp_path / "taught")


def test_a_residual_network_continues_and_teaches_but_is_no_version(tmp_path: Path) -> None:
    deeper = replace(RECIPE, images=8, network="Residual")
    folder = train_in_process(deeper, make_data(), tmp_path / "first").parent
    frozen = replace(deeper, learning_rate=0.0, start=str(folder))
    again = train_in_process(frozen, make_data(), tmp_path / "again").parent
    one, two = (dict(origin.network(str(f)).named_parameters()) for f in (folder, again))
    assert all(torch.equal(one[name], two[name]) for name in one)

    losses = []
    for teaching in (0.0, 1.0):
        recipe = replace(
            RECIPE, images=8, teachers=(str(folder),), teachers_see="inputs", teaching=teaching
        )
        student = train_in_process(recipe, make_data(), tmp_path / str(teaching)).parent
        losses.append(json.loads((student / "history.json").read_text())[0]["train_loss"])
        assert isinstance(origin.gimefive(str(student)), GiMeFive)
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)

    with pytest.raises(RunError, match="is a Residual, which can only teach: give its student"):
        origin.gimefive(str(folder))
    with pytest.raises(RunError, match="is a Residual: say so in the recipe"):
        origin.check(replace(RECIPE, start=str(folder)))


@pytest.mark.parametrize("what", ["start", "teachers"])
def test_unfinished_start_or_teacher_is_rejected(what: str, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    recipe = Recipe.of(
        {"images": 32, "batch": 8, what: [nowhere] if what == "teachers" else nowhere}
    )
    with pytest.raises(RunError, match="finish that run first"):
        train(recipe, make_data(), tmp_path / "second", TWO_PROCESSES)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("what", ["start", "teachers"])
def test_start_or_teacher_with_another_split_seed_is_rejected(what: str, tmp_path: Path) -> None:
    before = tmp_path / "before"
    before.mkdir()
    (before / "weights.pt").touch()
    (before / "recipe.json").write_text(Recipe(seed=1).to_json())
    recipe = Recipe.of({what: [str(before)] if what == "teachers" else str(before), "seed": 2})
    with pytest.raises(RunError, match=r"seed 1, .* held out with seed 2"):
        train(recipe, make_data(), tmp_path / "second", TWO_PROCESSES)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("what", ["start", "teachers"])
@pytest.mark.parametrize("kind", ["run", "version"])
def test_start_or_teacher_trained_on_a_since_changed_data_set_is_rejected(
    what: str, kind: str, exported: Exported, tmp_path: Path
) -> None:
    folder = str({"run": exported.run.parent / "first", "version": exported.folder}[kind])
    recipe = Recipe.of({what: [folder] if what == "teachers" else folder, "seed": 5})
    faces = noise_faces("raf-noise", each=10)
    other = split(faces.take(np.arange(len(faces) - 1)), 5)
    with pytest.raises(RunError, match="raf-noise has changed since"):
        train(
            recipe, Data.of([other.train], [other.validation]), tmp_path / "second", TWO_PROCESSES
        )
    assert not (tmp_path / "second").exists()


def test_run_is_resumed_only_with_the_same_data(tmp_path: Path) -> None:
    one, two = noise_faces("one", each=1), noise_faces("two", each=1, seed=1)
    recipe = Recipe(images=8, batch=8, stages=(Stage(1.0, 32),))
    train_in_process(recipe, Data.of([one, two], [one]), tmp_path)
    done = (tmp_path / "history.json").read_text()
    for others in ([two, one], [one]):
        with pytest.raises(RunError, match="other data: give the same data sets in the same order"):
            train_in_process(recipe, Data.of(others, [one]), tmp_path)
    train_in_process(recipe, Data.of([one, two], [one]), tmp_path)
    assert (tmp_path / "history.json").read_text() == done


@pytest.mark.parametrize("written", [0, 1, 2])
def test_run_interrupted_while_creating_its_folder_can_be_restarted(
    written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Path] = []

    def interrupted(text: str, path: Path) -> None:
        if len(done) == written:
            raise KeyboardInterrupt
        done.append(path)
        path.write_text(text)

    monkeypatch.setattr(training_train, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(RECIPE, make_data(), tmp_path, TWO_PROCESSES)
    monkeypatch.undo()
    prepare(RECIPE, make_data(), tmp_path, TWO_PROCESSES)
    assert Recipe.load(tmp_path / "recipe.json") == RECIPE


def test_folder_of_a_run_with_another_recipe_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    other = Recipe(images=80, batch=8)
    with pytest.raises(RunError, match="another recipe"):
        train(other, make_data(), tmp_path, TWO_PROCESSES)
    assert (tmp_path / "recipe.json").read_text() == RECIPE.to_json()


def test_run_is_resumed_only_with_the_same_number_of_processes(tmp_path: Path) -> None:
    train_in_process(replace(RECIPE, images=8), make_data(), tmp_path)
    with pytest.raises(RunError, match="--processes 1, which with 2 would end with other weights"):
        train(replace(RECIPE, images=8), make_data(), tmp_path, TWO_PROCESSES)
    train_in_process(replace(RECIPE, images=8), make_data(), tmp_path)


def losses(folder: Path) -> list[float]:
    return [row["train_loss"] for row in json.loads((folder / "history.json").read_text())]


def test_augmentation_differs_between_steps(tmp_path: Path) -> None:
    recipe = replace(RECIPE, images=16, learning_rate=0.0, dropout=0.0, stages=(Stage(1.0, 32),))
    train_in_process(recipe, make_data(RepeatingData), tmp_path, Execution(reports=2))
    first, second = losses(tmp_path)
    assert first != second


def test_balance_changes_the_training_loss(tmp_path: Path) -> None:
    faces = noise_faces("one", each=3)
    faces = faces.take(np.flatnonzero((faces.labels != 4) | (np.arange(18) < 6)))
    for balance in (0.0, 1.0):
        recipe = replace(RECIPE, images=8, learning_rate=0.0, balance=balance)
        train_in_process(recipe, Data.of([faces], [faces]), tmp_path / str(balance))
    assert losses(tmp_path / "0.0") != losses(tmp_path / "1.0")


@pytest.mark.parametrize("ema", [0.0, 0.998])
def test_averaged_weights_equal_last_weights_only_without_ema(ema: float, tmp_path: Path) -> None:
    train_in_process(replace(RECIPE, ema=ema), make_data(), tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt")
    same = torch.equal(state["average"]["module.fc3.weight"], state["network"]["fc3.weight"])
    assert same == (ema == 0.0)


def test_biases_and_norms_have_no_weight_decay() -> None:
    weights, others = _optimizer(GiMeFive(), Recipe(weight_decay=0.3)).param_groups
    assert (weights["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert {parameter.dim() for parameter in others["params"]} == {1}


def test_empty_start_is_not_a_version_even_next_to_a_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.json").touch()
    monkeypatch.chdir(tmp_path)
    assert not origin.is_version("")
    assert origin.is_version(str(tmp_path))
