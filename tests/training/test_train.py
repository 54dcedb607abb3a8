"""A run that is killed and started again ends as one that was not."""

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
from tests.training.alone import train_alone
from tests.training.conftest import Exported
from tests.training.generated import noise_faces
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
STILL = Augmentation(
    flip=0, rotation=0, scale=0, shift=0, contrast=0, brightness=0, erasing=0, blur=0
)
TOGETHER = Execution(processes=2, checkpoint_steps=2, reports=1)


class Doomed(Data):
    """Kills whatever process asks for faces after those of three steps."""

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        if numbers.start >= 3 * RECIPE.batch:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(numbers, seed)


class DrewError(Exception):
    """Tells what was drawn."""


class Curious(Data):
    """Tells the first place of the first faces that are drawn."""

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002  # drawn from nowhere
        raise DrewError(numbers.start)


class Same(Data):
    """Gives the same faces at every step."""

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        return super().batch(range(len(numbers)), seed)


def sets(kind: type[Data] = Data) -> Data:
    train_sets = [noise_faces("one", each=5), noise_faces("two", each=2, seed=1)]
    return kind.of(train_sets, [noise_faces("three", each=1, seed=2)])


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_weights(tmp_path: Path) -> None:
    whole = torch.load(train(RECIPE, sets(), tmp_path / "whole", TOGETHER))
    torch.manual_seed(RECIPE.seed)
    begun = GiMeFive().state_dict()
    assert not any(torch.equal(begun[name], whole[name]) for name in begun)

    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        train(RECIPE, sets(Doomed), tmp_path / "killed", TOGETHER)
    assert torch.load(tmp_path / "killed" / "checkpoint.pt")["at"]["step"] == 2
    assert not (tmp_path / "killed" / "weights.pt").exists()
    resumed = torch.load(train(RECIPE, sets(), tmp_path / "killed", TOGETHER))

    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    histories = [(tmp_path / name / "history.json").read_text() for name in ("whole", "killed")]
    assert histories[0] == histories[1]


def test_a_run_in_the_background_whose_parent_is_killed_leaves_no_process(tmp_path: Path) -> None:
    """Or it would go on beside the one that is started in its place, in the same folder."""
    begin = (
        "import signal, sys; from tests.training.test_train import *;"
        "signal.signal(signal.SIGINT, signal.SIG_IGN);"  # as a shell does for what ends with an &
        "endless, often = replace(RECIPE, images=10**9), replace(TOGETHER, checkpoint_steps=1);"
        "train(endless, sets(), Path(sys.argv[1]), often)"
    )
    with subprocess.Popen([sys.executable, "-c", begin, tmp_path]) as parent:
        wait_until((tmp_path / "checkpoint.pt").exists)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) >= TOGETHER.processes
        parent.kill()
        wait_for_the_end_of([int(pid) for pid in children])


def test_a_run_may_end_before_its_schedule_does(tmp_path: Path) -> None:
    recipe = replace(RECIPE, until=0.5)
    train_alone(recipe, sets(), tmp_path)
    assert (tmp_path / "weights.pt").exists()
    assert torch.load(tmp_path / "checkpoint.pt")["at"]["step"] == RECIPE.steps // 2
    _, history = lineage(tmp_path)
    assert history[-1]["images"] == RECIPE.images // 2
    assert history[-1]["learning_rate"] == RECIPE.rate(RECIPE.steps // 2 - 1) > 0


def test_a_run_may_draw_its_faces_after_those_of_others(tmp_path: Path) -> None:
    with pytest.raises(DrewError, match="24"):
        train_alone(replace(RECIPE, after=24), sets(Curious), tmp_path)


@pytest.mark.parametrize(("images", "learning_rate"), [(16, 0.002), (160, 0.05)])
def test_a_run_keeps_the_weights_that_the_validation_faces_prefer(
    images: int, learning_rate: float, tmp_path: Path
) -> None:
    """After two steps the average lags behind; after large ones the last weights may be worse."""
    stages = (Stage(1.0, 32),)
    recipe = Recipe(images=images, batch=8, learning_rate=learning_rate, stages=stages)
    data = sets()
    kept = torch.load(train_alone(recipe, data, tmp_path))
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


def test_the_loss_of_a_line_is_the_mean_since_the_line_before_it(tmp_path: Path) -> None:
    for reports in (2, 4):
        train_alone(RECIPE, sets(), tmp_path / str(reports), Execution(reports=reports))
    of_two, of_one = losses(tmp_path / "2"), losses(tmp_path / "4")
    pairs = zip(of_one[::2], of_one[1::2], strict=True)
    assert of_two == pytest.approx([sum(pair) / 2 for pair in pairs])
    assert len(set(of_one)) == 4


@pytest.mark.parametrize(("dropout", "linear"), [(0.0, None), (1.0, None), (1.0, 0.0), (0.0, 1.0)])
def test_without_dropout_no_chance_is_left_in_what_the_network_answers(
    dropout: float, linear: float | None, tmp_path: Path
) -> None:
    recipe = replace(
        RECIPE,
        images=16,
        learning_rate=0.0,
        dropout=dropout,
        linear_dropout=linear,
        stages=(Stage(1.0, 32),),
        augmentation=STILL,
    )
    train_alone(recipe, sets(Same), tmp_path, Execution(reports=2))
    first, second = json.loads((tmp_path / "history.json").read_text())
    assert (first["train_loss"] == second["train_loss"]) == (not dropout and not linear)


def test_a_run_in_bfloat16_sees_the_losses_of_one_in_full_precision_and_keeps_full_weights(
    tmp_path: Path,
) -> None:
    still = replace(RECIPE, learning_rate=0.0)
    losses = []
    for name, recipe in (("full", still), ("half", replace(still, precision="bf16"))):
        kept = torch.load(train_alone(recipe, sets(), tmp_path / name))
        assert kept["conv1.weight"].dtype == torch.float32
        losses.append(
            [
                row["train_loss"]
                for row in json.loads((tmp_path / name / "history.json").read_text())
            ]
        )
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_step_with_sharpness_takes_its_gradient_uphill(tmp_path: Path) -> None:
    recipe = Recipe(
        images=8,
        batch=8,
        optimizer="SGD",
        weight_decay=0.0,
        label_smoothing=0.0,
        dropout=0.0,
        balance=0.0,
        stages=(Stage(1.0, 32),),
        augmentation=STILL,
        sharpness=0.2,
    )
    train_alone(recipe, sets(), tmp_path)
    stepped = torch.load(tmp_path / "checkpoint.pt")["network"]

    torch.manual_seed(recipe.seed)
    network = GiMeFive()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    network.dropout.p = network.dropout_fc.p = 0.0
    weights = dict(network.named_parameters())
    faces, targets = sets().batch(range(8), recipe.seed)
    inputs = STILL(faces, 32, torch.Generator())

    def slopes() -> dict[str, Tensor]:
        loss = functional.cross_entropy(network(inputs), targets)
        return dict(zip(weights, torch.autograd.grad(loss, [*weights.values()]), strict=True))

    def flat(each: dict[str, Tensor]) -> Tensor:
        return torch.cat([values.flatten() for values in each.values()])

    uphill = slopes()
    stood = {name: weight.detach().clone() for name, weight in weights.items()}
    for name, weight in weights.items():
        weight.data.add_(uphill[name] * 0.2 / flat(uphill).norm())
    there = slopes()
    step = flat({name: stood[name] - stepped[name] for name in stood})
    length = 1.9 * recipe.rate(0)  # the first step with Nesterov's momentum
    assert (step - length * flat(there)).norm() < 0.03 * step.norm()
    assert (step - length * flat(uphill)).norm() > 0.1 * step.norm()


def test_a_run_may_start_from_the_weights_of_another(tmp_path: Path) -> None:
    first = torch.load(train_alone(RECIPE, sets(), tmp_path / "first"))
    still = replace(RECIPE, images=8, learning_rate=0.0, start=str(tmp_path / "first"))
    kept = torch.load(train_alone(still, sets(), tmp_path / "second"))
    assert all(torch.equal(first[name], kept[name]) for name in first if "weight" in name)


def test_a_run_may_start_from_a_version_of_the_store(exported: Exported, tmp_path: Path) -> None:
    still = replace(RECIPE, images=8, learning_rate=0.0, start=str(exported.folder))
    run = train_alone(still, sets(), tmp_path / "run").parent
    kept = torch.load(run / "weights.pt")
    stored = load(exported.folder / "model.fp32.pt").state_dict()
    assert all(torch.equal(stored[name], kept[name]) for name in stored if "bn" not in name)
    recipes, history = lineage(run)
    assert [recipe.images for recipe in recipes] == [500, 300, 8]
    assert history[-1]["images"] == 500 + 500 + 8


def test_a_run_is_taught_the_mean_answer_of_others_to_faces_and_their_mirror_images(
    exported: Exported, tmp_path: Path
) -> None:
    first = train_alone(RECIPE, sets(), tmp_path / "first")
    teachers = (str(first.parent), str(exported.folder))
    taught = replace(RECIPE, teachers=teachers, teaching=0.9)
    second = train(taught, sets(), tmp_path / "second", TOGETHER)
    networks = [GiMeFive(), GiMeFive()]
    networks[0].load_state_dict(torch.load(first))
    networks[1].load_state_dict(load(exported.folder / "model.fp32.pt").state_dict())
    answers = torch.load(second.with_name("teachers.pt"))
    views = (sets().faces, sets().faces.flip(2))
    each = [torch.softmax(logits_of(n, view), 1) for n in networks for view in views]
    torch.testing.assert_close(answers, sum(each) / 4)
    assert not torch.equal(torch.load(first)["fc3.weight"], torch.load(second)["fc3.weight"])


def test_teachers_answer_in_the_precision_of_the_run(exported: Exported, tmp_path: Path) -> None:
    taught = replace(RECIPE, images=8, teachers=(str(exported.folder),))
    answers = {}
    for precision in ("fp32", "bf16"):
        run = train_alone(replace(taught, precision=precision), sets(), tmp_path / precision)
        answers[precision] = torch.load(run.with_name("teachers.pt"))
    torch.testing.assert_close(answers["bf16"], answers["fp32"], rtol=0, atol=0.05)
    assert not torch.equal(answers["bf16"], answers["fp32"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_a_run_on_a_gpu_sees_the_losses_of_one_on_the_cpu_and_its_weights_are_read_anywhere(
    exported: Exported, tmp_path: Path
) -> None:
    recipe = replace(
        RECIPE,
        learning_rate=0.0,
        dropout=0.0,
        augmentation=STILL,
        teachers=(str(exported.folder),),
        teachers_see="inputs",
    )
    losses = []
    for device in ("cpu", "cuda"):
        weights = train(recipe, sets(), tmp_path / device, Execution(device=device))
        assert all(value.device.type == "cpu" for value in torch.load(weights).values())
        history = json.loads((tmp_path / device / "history.json").read_text())
        losses.append([row["train_loss"] for row in history])
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


def test_a_run_whose_teacher_sees_what_it_sees_asks_it_at_every_step(
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
        folder = train_alone(recipe, sets(), tmp_path / str(teaching)).parent
        assert not (folder / "teachers.pt").exists()
        losses[teaching] = json.loads((folder / "history.json").read_text())[0]["train_loss"]
    assert losses[0.0] != losses[1.0]


class Watched(Data):
    """Tells of a face of fold 1 of 2 that is drawn."""

    def batch(self, numbers: range, seed: int) -> tuple[Tensor, Tensor]:
        faces, targets = super().batch(numbers, seed)
        folds = dict(zip(map(bytes, self.faces.numpy()), self.folds(2).tolist(), strict=True))
        if {folds[bytes(face)] for face in faces.numpy()} != {0}:
            raise DrewError
        return faces, targets


def test_a_run_that_leaves_out_a_fold_draws_no_face_of_it(tmp_path: Path) -> None:
    recipe = replace(RECIPE, folds=2, left_out=1)
    train_alone(recipe, sets(Watched), tmp_path / "without")
    with pytest.raises(DrewError):
        train_alone(replace(recipe, left_out=0), sets(Watched), tmp_path / "with")


def test_the_fold_that_a_run_leaves_out_does_not_decide_how_much_rare_emotions_weigh(
    tmp_path: Path,
) -> None:
    data = sets()
    labels = torch.where(data.folds(2) == 1, 3, data.labels)
    other = replace(data, labels=labels, targets=torch.eye(6)[labels])
    recipe = replace(RECIPE, images=8, folds=2, left_out=1)
    one, two = (
        torch.load(train_alone(recipe, data, tmp_path / "one")),
        torch.load(train_alone(recipe, other, tmp_path / "two")),
    )
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Runs that each left out one of two folds."""
    place = tmp_path_factory.mktemp("folds")

    def run(fold: int) -> Path:
        recipe = replace(RECIPE, images=8, folds=2, left_out=fold)
        return train_alone(recipe, sets(), place / str(fold)).parent

    return run(0), run(1)


def cross_fitted(*teachers: Path, **changes: Any) -> Recipe:  # noqa: ANN401  # any choice of a recipe
    names = tuple(map(str, teachers))
    return replace(RECIPE, **{"folds": 2, "teachers": names, "teachers_see": "inputs", **changes})


def test_each_batch_is_of_one_fold_and_those_teach_that_did_not_learn_it(
    without: tuple[Path, Path], tmp_path: Path
) -> None:
    for fold, lesson in enumerate(lessons(sets(), cross_fitted(*without), torch.device("cpu"))):
        assert set(lesson.data.folds(2).tolist()) == {fold}
        (teacher,) = lesson.teachers
        own = torch.load(without[fold] / "weights.pt")
        assert all(torch.equal(own[name], value) for name, value in teacher.state_dict().items())

    swapped = [shutil.copytree(folder, tmp_path / folder.name) for folder in without]
    for folder, other in zip(swapped, reversed(without), strict=True):
        shutil.copy(other / "weights.pt", folder)
    told = []
    for name, teachers in (("taught", without), ("mistaught", swapped)):
        recipe = cross_fitted(*teachers, images=16, learning_rate=0.0, dropout=0.0, teaching=1.0)
        train_alone(recipe, sets(), tmp_path / name, Execution(reports=2))
        told.append(losses(tmp_path / name))
    assert not set(told[0]) & set(told[1])


def test_a_fold_that_may_be_known_is_refused(
    without: tuple[Path, Path], exported: Exported
) -> None:
    one, whole = without[0], exported.run
    for recipe, fault in (
        (cross_fitted(one), "leave out each of 2 folds"),
        (cross_fitted(*without, folds=3), "leave out each of 3 folds"),
        (cross_fitted(*without, whole), "and each teacher one of them"),
        (cross_fitted(*without, teachers_see="faces"), "answer `inputs` or `mirrored`, not"),
        (
            cross_fitted(one, left_out=1),
            "trained on the fold that this run leaves out",
        ),
        (
            cross_fitted(left_out=1, start=str(whole)),
            "trained on the fold that this run leaves out",
        ),
    ):
        with pytest.raises(RunError, match=fault):
            origin.check(recipe)
    origin.check(cross_fitted(*without))
    origin.check(cross_fitted(one, left_out=0, start=str(one)))


@pytest.mark.parametrize("what", ["start", "teachers"])
def test_a_run_cannot_start_from_or_be_taught_by_one_that_has_not_ended(
    what: str, tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "nowhere")
    recipe = Recipe.of(
        {"images": 32, "batch": 8, what: [nowhere] if what == "teachers" else nowhere}
    )
    with pytest.raises(RunError, match="finish that run first"):
        train(recipe, sets(), tmp_path / "second", TOGETHER)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("what", ["start", "teachers"])
def test_a_run_learns_nothing_from_one_that_may_know_its_held_out_faces(
    what: str, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    before.mkdir()
    (before / "weights.pt").touch()
    (before / "recipe.json").write_text(Recipe(seed=1).to_json())
    recipe = Recipe.of({what: [str(before)] if what == "teachers" else str(before), "seed": 2})
    with pytest.raises(RunError, match=r"seed 1, .* held out with seed 2"):
        train(recipe, sets(), tmp_path / "second", TOGETHER)
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize("what", ["start", "teachers"])
@pytest.mark.parametrize("kind", ["run", "version"])
def test_a_run_learns_nothing_from_one_that_learned_from_a_data_set_before_it_was_changed(
    what: str, kind: str, exported: Exported, tmp_path: Path
) -> None:
    folder = str({"run": exported.run.parent / "first", "version": exported.folder}[kind])
    recipe = Recipe.of({what: [folder] if what == "teachers" else folder, "seed": 5})
    faces = noise_faces("raf-noise", each=10)
    other = split(faces.take(np.arange(len(faces) - 1)), 5)
    with pytest.raises(RunError, match="raf-noise has changed since"):
        train(recipe, Data.of([other.train], [other.validation]), tmp_path / "second", TOGETHER)
    assert not (tmp_path / "second").exists()


def test_a_run_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    one, two = noise_faces("one", each=1), noise_faces("two", each=1, seed=1)
    recipe = Recipe(images=8, batch=8, stages=(Stage(1.0, 32),))
    train_alone(recipe, Data.of([one, two], [one]), tmp_path)
    done = (tmp_path / "history.json").read_text()
    for others in ([two, one], [one]):
        with pytest.raises(RunError, match="other data: give the same data sets in the same order"):
            train_alone(recipe, Data.of(others, [one]), tmp_path)
    train_alone(recipe, Data.of([one, two], [one]), tmp_path)
    assert (tmp_path / "history.json").read_text() == done


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_run_that_is_killed_while_its_folder_is_made_can_be_started_again(
    written: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Path] = []

    def killed(text: str, path: Path) -> None:
        if len(done) == written:
            raise KeyboardInterrupt
        done.append(path)
        path.write_text(text)

    monkeypatch.setattr(training_train, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        prepare(RECIPE, sets(), tmp_path, TOGETHER)
    monkeypatch.undo()
    prepare(RECIPE, sets(), tmp_path, TOGETHER)
    assert Recipe.load(tmp_path / "recipe.json") == RECIPE


def test_a_folder_with_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(RECIPE.to_json())
    other = Recipe(images=80, batch=8)
    with pytest.raises(RunError, match="another recipe"):
        train(other, sets(), tmp_path, TOGETHER)
    assert (tmp_path / "recipe.json").read_text() == RECIPE.to_json()


def test_a_run_does_not_go_on_with_another_number_of_processes(tmp_path: Path) -> None:
    train_alone(replace(RECIPE, images=8), sets(), tmp_path)
    with pytest.raises(RunError, match="--processes 1, which with 2 would end with other weights"):
        train(replace(RECIPE, images=8), sets(), tmp_path, TOGETHER)
    train_alone(replace(RECIPE, images=8), sets(), tmp_path)


def losses(folder: Path) -> list[float]:
    return [row["train_loss"] for row in json.loads((folder / "history.json").read_text())]


def test_every_step_changes_its_faces_anew(tmp_path: Path) -> None:
    recipe = replace(RECIPE, images=16, learning_rate=0.0, dropout=0.0, stages=(Stage(1.0, 32),))
    train_alone(recipe, sets(Same), tmp_path, Execution(reports=2))
    first, second = losses(tmp_path)
    assert first != second


def test_rare_emotions_weigh_more_where_that_is_wished(tmp_path: Path) -> None:
    faces = noise_faces("one", each=3)
    faces = faces.take(np.flatnonzero((faces.labels != 4) | (np.arange(18) < 6)))
    for balance in (0.0, 1.0):
        recipe = replace(RECIPE, images=8, learning_rate=0.0, balance=balance)
        train_alone(recipe, Data.of([faces], [faces]), tmp_path / str(balance))
    assert losses(tmp_path / "0.0") != losses(tmp_path / "1.0")


@pytest.mark.parametrize("ema", [0.0, 0.998])
def test_weights_are_averaged_where_that_is_wished(ema: float, tmp_path: Path) -> None:
    train_alone(replace(RECIPE, ema=ema), sets(), tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt")
    same = torch.equal(state["average"]["module.fc3.weight"], state["network"]["fc3.weight"])
    assert same == (ema == 0.0)


def test_biases_and_norms_do_not_decay() -> None:
    weights, others = _optimizer(GiMeFive(), Recipe(weight_decay=0.3)).param_groups
    assert (weights["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert {parameter.dim() for parameter in others["params"]} == {1}


def test_a_run_from_chance_is_no_version_wherever_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "card.json").touch()
    monkeypatch.chdir(tmp_path)
    assert not origin.is_version("")
    assert origin.is_version(str(tmp_path))
