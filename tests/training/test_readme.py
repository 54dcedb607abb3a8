"""The README of a version is consistent with its card."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.training.conftest import Exported
from training.card import Card, calibrated_on, read
from training.markdown import table
from training.network import EMOTIONS
from training.readme import markdown

VERSIONS = sorted((Path(__file__).parents[2] / "model_store" / "gimefive").iterdir())


@pytest.fixture(scope="module")
def page(exported: Exported) -> str:
    return (exported.folder / "README.md").read_text()


@pytest.fixture(scope="module")
def card(exported: Exported) -> Card:
    document: Card = json.loads((exported.folder / "card.json").read_text())
    return document


def section(page: str, heading: str) -> str:
    return page.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a Markdown table, without its header."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_results_table_has_a_row_per_data_set_and_precision(page: str, card: Card) -> None:
    found = rows(section(page, "Results"))
    measured = [
        (f"{name}, {which}", precision, report)
        for which, part in (("held out", "held_out"), ("all", "unseen"))
        for name, reports in card["metrics"][part].items()  # type: ignore[literal-required]  # both are keys
        for precision, report in reports.items()
    ]
    assert [(row[0], row[1]) for row in found] == [(name, p) for name, p, _ in measured]
    for row, (_, _, report) in zip(found, measured, strict=True):
        share = report["accuracy"]
        assert row[2] == str(report["images"])
        value, low, high = (f"{100 * share[key]:.1f}" for key in ("value", "low", "high"))
        assert row[3] == f"{value} ({low} to {high})"


def test_emotion_table_has_a_row_per_emotion(page: str) -> None:
    found = rows(section(page, "Results by emotion"))
    assert [row[0] for row in found] == list(EMOTIONS)
    assert {len(row) for row in found} == {6}


def test_robustness_table_has_the_accuracy_by_condition_and_data_set(page: str, card: Card) -> None:
    assert rows(section(page, "Robustness")) == [
        [condition, *(f"{100 * share['value']:.1f}" for share in by_set.values())]
        for condition, by_set in card["robustness"].items()
    ]


def test_accuracy_without_corruption_equals_the_held_out_accuracy(card: Card) -> None:
    precision = card["default_precision"]["cpu"]
    for name, share in card["robustness"]["as they are"].items():
        assert share == card["metrics"]["held_out"][name][precision]["accuracy"]


def test_files_table_has_names_digests_and_calibrations(page: str, card: Card) -> None:
    for row, entry in zip(rows(section(page, "Files")), card["precisions"].values(), strict=True):
        assert row[0] == f"`{entry['file']}`"
        assert row[2].strip("`").rstrip(".") == entry["sha256"][:16]
        assert row[4:] == [f"{entry['temperature']:.4f}", f"{entry['exponent']:.4f}"]


def test_page_states_scope_limits_and_licence(page: str) -> None:
    for words in (
        "does not measure what the person feels",
        "Article 5(1)(f)",
        "Out of scope",
        "no neutral class",
        "No image is kept",
        "non-commercial research",
    ):
        assert words in " ".join(page.split()), words


def test_page_lists_the_first_recipe_and_the_changes_of_the_next(page: str) -> None:
    lines = [" ".join(line.split()) for line in page.splitlines()]
    assert "| sampling of data sets | equal |" in lines
    assert "| seed | 5 |" in lines
    (changed,) = (line for line in lines if line.startswith("- Run 2: "))
    sampling = "2 : 1, after 2,000 earlier draws; 30% cropped from photographs"
    assert f"*sampling of data sets* {sampling}" in changed
    assert "*optimiser* AdamW, peak learning rate 0.002, batch size 128, bfloat16" in changed
    assert "*dropout* 0% of published after blocks, 50% between linear layers" in changed
    assert "blur 0, mixup 0.2" in changed
    assert "*seed*" not in changed


def test_figures_shown_on_the_page_exist(page: str, exported: Exported) -> None:
    pictures = re.findall(r"!\[[^]]+\]\((\w+\.png)\)", page)
    assert pictures == ["confusion.png", "reliability.png", "curves.png"]
    for name in pictures:
        with Image.open(exported.folder / name) as picture:
            assert picture.width > 1000


def test_recall_of_a_class_without_faces_is_a_dash(card: Card) -> None:
    changed: Card = json.loads(json.dumps(card))
    for reports in changed["metrics"]["held_out"].values():
        for report in reports.values():
            report["recall"]["fear"] = None
    row = rows(section(markdown(changed), "Results by emotion"))[-1]
    assert row == ["fear", "0", "-", row[3], "-", "-"]


def test_table_columns_are_aligned_in_the_source() -> None:
    assert table(["what", "n"], [["a", "1"], ["longer", "23"]]) == (
        "| what   |  n |\n| ------ | -: |\n| a      |  1 |\n| longer | 23 |"
    )


@pytest.mark.parametrize(
    ("sees", "words"),
    [
        ("faces", "`a`: 50%"),
        ("inputs", "`a`: 50%, on the augmented inputs"),
        ("mirrored", "`a`: 50%, on the augmented inputs and their mirror images"),
    ],
)
def test_page_states_what_the_teachers_see(card: Card, sees: str, words: str) -> None:
    changed: Card = json.loads(json.dumps(card))
    changed["recipes"][0] |= {"teachers": ["a"], "teachers_see": sees}
    lines = [" ".join(line.split()) for line in markdown(changed).splitlines()]
    assert f"| teachers | {words} |" in lines


def test_page_states_the_left_out_fold_and_cross_fitted_teachers(
    card: Card,
) -> None:
    changed: Card = json.loads(json.dumps(card))
    changed["recipes"][0] |= {"folds": 4, "left_out": 2}
    changed["recipes"][1] |= {"folds": 4, "teachers": ["a"], "teachers_see": "inputs"}
    page = markdown(changed)
    assert page.count("; without fold 2") == 1
    assert page.count("on the augmented inputs, each on the fold it left out") == 1


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
def test_page_of_every_stored_version_matches_its_card(folder: Path) -> None:
    assert (folder / "README.md").read_text() == markdown(read(folder))


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda folder: folder.name)
def test_versions_before_10_were_calibrated_on_the_validation_set(folder: Path) -> None:
    """Their cards do not say so, and their held-out results are not cross-fitted."""
    card = read(folder)
    early = int(folder.name) < 10
    assert calibrated_on(card) == ("validation" if early else "held_out")
    page = markdown(card)
    assert ("lowest NLL on the validation faces" in " ".join(page.split())) == early
    assert ("cross-fitted" in page) != early
    assert ("--part held_out" in page) == early
    assert ("training calibrate" in page) != early


@pytest.mark.parametrize(
    ("commit", "words"),
    [
        ("4706696f", "exported this version, at commit `4706696f`:"),
        ("4706696f-dirty", "exported this version, at commit `4706696f` with uncommitted changes:"),
        (None, "exported this version:"),
    ],
)
def test_page_states_the_commit_of_the_export(card: Card, commit: str | None, words: str) -> None:
    changed: Card = json.loads(json.dumps(card))
    changed["commit"] = commit
    assert words in markdown(changed)


def test_card_states_the_part_that_calibrations_were_fitted_on(card: Card) -> None:
    assert int(card["version"]) < 10
    assert card["calibrated_on"] == calibrated_on(card) == "held_out"
    assert "cross-fitted" in markdown(card)
