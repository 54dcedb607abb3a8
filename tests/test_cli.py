"""The command line, run in process with the real model."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import service
from service.cli import app
from service.commands.sources import PICTURES, find
from service.records import EMOTIONS
from tests import processes, videos
from tests.waiting import LIMIT, wait_until

PORTRAIT = Path(__file__).parent.parent / "examples" / "eileen-collins.jpg"
ENVIRONMENT = {"GIMEFIVE_WORKERS": "1", "COLUMNS": "160"}


def run(*arguments: str, status: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, list(arguments), env=ENVIRONMENT)
    assert result.exit_code == status, result.output
    return result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _keep_log_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a command from reconfiguring the log for later tests in this process."""
    monkeypatch.setattr("service.logs.configure", lambda _: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two portraits in nested folders, and a text file."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "deep").mkdir()
    (root / "a.jpg").write_bytes(PORTRAIT.read_bytes())
    (root / "deep" / "b.JPG").write_bytes(PORTRAIT.read_bytes())
    (root / "notes.txt").write_text("not a picture")
    return root


def test_classify_writes_csv_with_the_columns_of_the_paper(folder: Path) -> None:
    out, _ = run("classify", "--csv", str(folder))
    rows = list(csv.DictReader(io.StringIO(out)))
    assert list(rows[0]) == ["filepath", *EMOTIONS]
    assert [row["filepath"] for row in rows] == [
        str(folder / "a.jpg"),
        str(folder / "deep" / "b.JPG"),
    ]
    assert max(EMOTIONS, key=lambda emotion: float(rows[0][emotion])) == "happiness"


def test_local_commands_ignore_the_deadline_setting(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIMEFIVE_DEADLINE_MS", "0.001")
    out, _ = run("classify", "--csv", str(folder))
    assert len(out.splitlines()) == 3
    run("explain", str(PORTRAIT), "-o", str(tmp_path / "why.png"))


def test_json_output_has_the_answer_of_classify_per_line(folder: Path) -> None:
    out, _ = run("classify", "--json", str(folder / "a.jpg"))
    (line,) = out.splitlines()
    answer = json.loads(line)
    assert answer["path"] == str(folder / "a.jpg")
    assert answer["image"] == {"width": 512, "height": 512}
    assert answer["faces"][0]["emotion"] == "happiness"


def test_the_default_output_is_a_readable_table(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "a.jpg", tmp_path / "[holiday] a.jpg")
    out, _ = run("classify", str(tmp_path / "[holiday] a.jpg"))
    assert "[holiday]" in "".join(out.split())
    assert "happiness" in out
    assert "%" in out


def test_unreadable_files_are_reported_and_the_rest_are_classified(folder: Path) -> None:
    missing = str(folder / "missing.jpg")
    out, err = run(
        "classify", "--csv", missing, str(folder / "notes.txt"), str(folder / "a.jpg"), status=1
    )
    assert len(out.splitlines()) == 2
    assert "missing.jpg" in err
    assert "notes.txt" in err
    assert "missing.jpg: No such file or directory\n" in err


def test_a_folder_without_images_is_reported_and_no_file_is_written(
    folder: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would block forever
    table = tmp_path / "out.csv"
    _, err = run("classify", str(folder), str(tmp_path), "--csv", str(table), status=2)
    assert not table.exists()
    assert "has no .bmp" in err
    assert tmp_path.name in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("classify", "a.jpg", "--json", "--csv"), "not both"),
        (("classify", "a.jpg", "--url", "http://x", "--device", "cpu"), "for a model here"),
        (("classify", "a.jpg", "--key-file", "key"), "is for a service: add --url"),
        (("classify", "a.jpg", "--device", "tpu"), "GIMEFIVE_DEVICE: use auto, cpu"),
        (("explain", "b.jpg", "-o", "why.png"), "does not exist"),
        (("explain", "a.jpg", "-o", "why.jpg"), "end with .png"),
        (("explain", "a.jpg", "-o", "nowhere/why.png"), "no such folder"),
        (("video", "a.mp4", "--csv", "/dev/null"), "not a file that"),
        (("classify", "a.jpg", "--url", "http://x", "--key-file", "key"), "holds no API key"),
        (("explain", "why.png", "-o", "why.png"), "another file"),
        (("explain", "a.jpg", "-o", "out.png", "--alpha", "2"), "Invalid value for '--alpha'"),
        (("explain", "a.jpg", "-o", "out.png", "--view", "grid"), "method=activations"),
        (("video", "b.mp4"), "does not exist"),
        (("video", "a.mp4", "-o", "drawn.avi"), "end with .mp4"),
        (("video", "a.mp4", "--fps", "2", "--every", "3"), "not both"),
        (("video", "a.mp4", "--start", "2", "--end", "1"), "after start"),
    ],
)
def test_invalid_arguments_are_rejected_before_a_model_starts(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("service.commands.backends.Engine", None)
    for name in ("a.jpg", "why.png", "a.mp4"):
        Path(name).touch()
    Path("key").write_bytes(b"\xff\xd8")
    _, err = run(*arguments, status=2)
    assert told in " ".join(err.replace("│", " ").split())


def test_a_failed_explanation_prints_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    wall = tmp_path / "wall.png"
    Image.new("L", (320, 240), 128).save(wall)
    out, err = run("explain", str(wall), "-o", str(tmp_path / "why.PNG"), status=1)
    assert out == ""
    assert err.startswith("gimefive: ")
    assert "no face" in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [wall]


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("QUEUE_ITEMS", "many", "GIMEFIVE_QUEUE_ITEMS: Input should be a valid integer"),
        ("DEVICE", "gpu", "GIMEFIVE_DEVICE: use auto, cpu, cuda or cuda:N"),
        ("OPS_PORT", "8000", "GIMEFIVE_OPS_PORT is GIMEFIVE_PORT: choose another"),
    ],
)
def test_an_invalid_setting_is_named_by_its_environment_variable(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"GIMEFIVE_{name}", value)
    assert run("verify", status=2)[1].startswith(f"gimefive: {told}")


def test_a_misspelled_setting_is_named_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIMEFIVE_WORKRS", "2")
    assert "did you mean GIMEFIVE_WORKERS?" in run("verify", status=2)[1]


def test_version_prints_the_package_version() -> None:
    assert run("--version")[0] == f"gimefive {service.__version__}\n"


def test_help_says_where_settings_are_explained_and_fills_its_lines() -> None:
    assert "see docs/operations.md" in run("--help")[0]
    assert "named after the videos; run again, it skips" in run("video", "--help")[0]


def test_an_interrupted_csv_file_is_completed(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    run("classify", str(folder), "--csv", str(table))
    whole = table.read_text()
    assert [line.partition(",")[0] for line in whole.splitlines()] == [
        "filepath",
        str(folder / "a.jpg"),
        str(folder / "deep" / "b.JPG"),
    ]
    table.write_text(whole[:-20])
    run("classify", str(folder), "--csv", str(table))
    alone = tmp_path / "alone.csv"  # another batch changes the last digits
    run("classify", str(folder / "deep"), "--csv", str(alone))
    rows = [*whole.splitlines()[:-1], alone.read_text().splitlines()[-1], ""]
    assert table.read_text() == "\n".join(rows)


def test_files_already_in_the_csv_are_not_classified_again(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    zeros = ",".join(["0"] * len(EMOTIONS))
    rows = [f"{folder / name},{zeros}" for name in ("a.jpg", "deep/b.JPG")]
    table.write_text("\n".join([",".join(["filepath", *EMOTIONS]), *rows, ""]))
    before = table.read_text()
    run("classify", str(folder), "--csv", str(table))
    assert table.read_text() == before


def test_an_image_without_a_face_gets_an_empty_row_and_is_not_classified_again(
    tmp_path: Path,
) -> None:
    wall, table = tmp_path / "wall.png", tmp_path / "out.csv"
    Image.new("L", (320, 240), 128).save(wall)
    run("classify", str(wall), "--csv", str(table))
    assert table.read_text() == f"filepath,{','.join(EMOTIONS)}\n{wall},,,,,,\n"
    _, err = run("classify", str(wall), "--csv", str(table), "--url", "http://127.0.0.1:9")
    assert err == "1 of 1 done before\n", "nobody was asked again"


def test_classify_does_not_overwrite_a_foreign_file(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "diary.csv"
    table.write_text("Dear diary")
    _, err = run("classify", str(folder), "--csv", str(table), status=1)
    assert "choose another name" in err
    assert table.read_text() == "Dear diary"


@pytest.mark.parametrize("table", [["out.csv"], []], ids=["file", "stdout"])
def test_an_unreachable_service_is_reported_once_and_leaves_no_table(
    folder: Path, tmp_path: Path, table: list[str]
) -> None:
    files = (str(folder), "--csv", *(str(tmp_path / name) for name in table))
    out, err = run("classify", *files, "--url", "http://127.0.0.1:9", status=1)
    assert err.count("no answer from http://127.0.0.1:9") == 1
    assert (out, list(tmp_path.iterdir())) == ("", [])


def test_skipped_files_of_a_folder_are_counted_by_extension(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    for name in ("a.HEIC", "b.heic", ".hidden", "README"):
        (tmp_path / name).write_bytes(b"")
    _, err = run("classify", "--csv", str(tmp_path))
    assert "skipped: 2 .heic, 1 .txt, 1 without an ending\n" in err.replace(
        "1 without an ending, 1 .txt", "1 .txt, 1 without an ending"
    )
    for picture in tmp_path.rglob("*.[jJ]*"):
        picture.unlink()
    _, err = run("classify", str(tmp_path), status=2)
    assert "only 2 .heic" in " ".join(err.replace("│", "").split())


def test_files_already_in_the_csv_are_recognised_under_another_path(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    table = tmp_path / "out.csv"
    run("classify", f"../{folder.name}", "--csv", str(table))
    _, err = run("classify", str(folder), "--csv", str(table))
    assert "2 of 2 done before" in err
    assert len(table.read_text().splitlines()) == 3


def test_symlinked_folders_are_searched_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "circle").symlink_to(tmp_path)
    found = find([tmp_path], PICTURES)
    assert found == [tmp_path / "link" / "a.jpg", tmp_path / "link" / "deep" / "b.JPG"]


def test_links_that_lead_nowhere_are_reported_and_circles_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(PORTRAIT.read_bytes())
    for name, target in (("gone.jpg", "moved"), ("circle.jpg", "circle.jpg"), ("c.txt", "c.txt")):
        (tmp_path / name).symlink_to(target)
    table = tmp_path / "out.csv"
    for _ in range(2):
        _, err = run("classify", str(tmp_path), "--csv", str(table), status=1)
        assert "skipped: 1 .txt\n" in err
        assert f"{tmp_path / 'gone.jpg'}: No such file or directory\n" in err
        assert f"{tmp_path / 'circle.jpg'}: Too many levels of symbolic links\n" in err
        assert len(table.read_text().splitlines()) == 2


def test_video_links_that_lead_nowhere_are_reported(tmp_path: Path) -> None:
    films, tables = tmp_path / "films", tmp_path / "tables"
    films.mkdir()
    for name, target in (("gone.mp4", "moved"), ("circle.mp4", "circle.mp4")):
        (films / name).symlink_to(target)
    _, err = run("video", str(films), "--csv", str(tables), status=1)
    assert err.splitlines() == [
        f"{films / 'circle.mp4'}: Too many levels of symbolic links",
        f"{films / 'gone.mp4'}: No such file or directory",
    ]
    assert list(tables.iterdir()) == []


def test_a_name_that_is_not_utf8_is_printed_as_it_is(tmp_path: Path) -> None:
    picture = Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"\xff.jpg"))
    picture.write_bytes(PORTRAIT.read_bytes())
    told = subprocess.run(
        [sys.executable, "-m", "service.cli", "classify", "--csv", str(tmp_path)],
        capture_output=True,
        check=True,
        env={**os.environ, **ENVIRONMENT, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert told.stdout.splitlines()[1].startswith(os.fsencode(picture) + b",")


def test_closed_standard_streams_are_no_obstacle(tmp_path: Path) -> None:
    table = tmp_path / "out.csv"
    command = [sys.executable, "-m", "service.cli", "classify", "--csv", str(table), str(PORTRAIT)]
    subprocess.run(
        ["/bin/sh", "-c", '"$@" <&- >&- 2>&-', "-", *command],
        check=True,
        env={**os.environ, **ENVIRONMENT},
    )
    assert len(table.read_text().splitlines()) == 2


def test_stdout_has_only_answers_while_a_second_model_process_starts(
    folder: Path, tmp_path: Path
) -> None:
    for number in range(80):
        (tmp_path / f"{number}.jpg").hardlink_to(folder / "a.jpg")
    script = [sys.executable, "-m", "service.cli", "classify", "--json", str(tmp_path)]
    told = subprocess.run(
        script,
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, **ENVIRONMENT, "GIMEFIVE_WORKERS": "2"},
    )
    assert len([json.loads(line) for line in told.stdout.splitlines()]) == 80


def test_modules_in_the_working_directory_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("service.py", "random.py", "torch.py"):
        (tmp_path / name).write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    assert "happiness" in run("classify", str(PORTRAIT))[0]


@pytest.mark.parametrize(
    "outputs",
    [("-o", "in.mp4"), ("--csv", "in.mp4"), ("-o", "."), ("-o", "a.mp4", "--csv", "a.mp4")],
)
def test_invalid_outputs_are_rejected_and_the_input_video_is_kept(
    outputs: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    film = videos.encode(videos.counting(2), "mp4")
    Path("in.mp4").write_bytes(film)
    _, err = run("video", "in.mp4", *outputs, status=2)
    assert "name a" in err
    assert Path("in.mp4").read_bytes() == film


WITH_GATED_MODEL = """
import sys
from service.cli import app
from service.commands.backends import Engine
from tests import processes

opened, model = Engine.open, processes.argv(processes.gated, sys.argv.pop())
Engine.open = lambda settings: opened(settings, lambda _: model)
app(sys.argv[1:])
"""
"""The command line over a fake model whose gate is the last argument."""


def test_sigterm_leaves_no_partial_file(tmp_path: Path) -> None:
    film, gate = tmp_path / "film.mp4", tmp_path / "gate"
    film.write_bytes(videos.encode(videos.counting(2)))
    arguments = ["video", str(film), "-o", str(tmp_path / "out.mp4"), "--faces", "whole", str(gate)]
    with (
        processes.shut(gate),
        subprocess.Popen(
            [sys.executable, "-c", WITH_GATED_MODEL, *arguments],
            env={**os.environ, **ENVIRONMENT},
        ) as running,
    ):
        wait_until(lambda: list(tmp_path.glob(".out.mp4.*")))
        running.send_signal(signal.SIGTERM)
        assert running.wait(LIMIT) == 130
    assert {path.name for path in tmp_path.iterdir()} <= {"film.mp4", "gate", "gate.log"}


def test_a_truncated_video_keeps_its_rows_and_reports_the_problem(tmp_path: Path) -> None:
    film, table, movie = (tmp_path / name for name in ("film.mkv", "out.csv", "out.mp4"))
    whole = videos.encode(videos.counting(25), "mkv")
    film.write_bytes(whole[: len(whole) * 7 // 10])
    files = ("-o", str(movie), "--csv", str(table), "--faces", "whole")
    _, err = run("video", str(film), *files, status=1)
    assert "breaks off" in err
    assert "out.csv has the rows" in err
    assert 5 < len(table.read_text().splitlines()) < 25
    assert {path.name for path in tmp_path.iterdir()} == {"film.mkv", "out.csv"}


def test_video_does_not_overwrite_a_foreign_csv_file_but_recreates_a_deleted_one(
    tmp_path: Path,
) -> None:
    film, table = tmp_path / "film.mp4", tmp_path / "labels.csv"
    film.write_bytes(videos.encode(videos.counting(2)))
    table.write_text("name,label\n")
    arguments = ("video", str(film), "--csv", str(table), "--faces", "whole")
    assert "choose another name" in run(*arguments, status=1)[1]
    assert table.read_text() == "name,label\n"
    for _ in range(2):
        table.unlink(missing_ok=True)
        run(*arguments)
    assert len(table.read_text().splitlines()) == 3


def test_videos_of_a_folder_keep_its_structure_and_are_processed_once(tmp_path: Path) -> None:
    films, tables, drawn = (tmp_path / name for name in ("films", "tables", "drawn"))
    (films / "deep").mkdir(parents=True)
    for name in ("a.mp4", "deep/b.MKV", "zero.mov"):
        (films / name).write_bytes(videos.encode(videos.counting(3)))
    (films / "zero.mov").write_bytes(b"hello")
    (films / "notes.txt").write_text("no video")
    arguments = ("--csv", str(tables), "-o", str(drawn), "--faces", "whole")
    out, err = run("video", str(films), *arguments, status=1)
    assert f"{films / 'a.mp4'}: 3 faces in 3 frames" in out
    assert f"{films / 'zero.mov'}: this is no video" in err
    assert sorted(path.name for path in (*tables.rglob("*"), *drawn.rglob("*"))) == [
        *("a.csv", "a.mp4", "b.csv", "b.mp4", "deep", "deep")
    ]

    (films / "zero.mov").unlink()
    (tables / "deep" / "b.csv").unlink()
    out, err = run("video", str(films), *arguments)
    assert "1 of 2 done before" in err
    assert "a.mp4" not in out
    assert len((tables / "deep" / "b.csv").read_text().splitlines()) == 4


def test_output_written_into_the_input_folder_is_not_processed_again(tmp_path: Path) -> None:
    for name in ("a.mp4", "._a.mp4", "b.mpg"):
        (tmp_path / name).write_bytes(videos.encode(videos.counting(2)))
    arguments = (str(tmp_path), str(tmp_path / "a.mp4"), "-o", str(tmp_path / "drawn"))
    out, err = run("video", *arguments, "--faces", "whole")
    assert out.count(" faces in ") == 1
    assert "skipped: 1 .mpg" in err
    _, err = run("video", *arguments, "--faces", "whole")
    assert "1 of 1 done before" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a.mp4", "a.mov", "--csv", "tables"), "would overwrite what a.mp4 needs"),
        ((".", "-o", "."), "would overwrite what"),
        ((".", "--csv", "all.csv"), "name a folder"),
        (("a.mp4", "a.mov", "-o", "notes"), "name a folder"),
        (("empty",), "empty has no .avi"),
    ],
)
def test_invalid_arguments_for_several_videos_are_rejected_and_files_kept(
    arguments: tuple[str, ...], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for name in ("a.mp4", "a.mov", "notes"):
        Path(name).write_bytes(b"kept")
    assert told in " ".join(run("video", *arguments, status=2)[1].replace("│", "").split())
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "a.mov", "notes", "empty"}
    assert Path("a.mp4").read_bytes() == b"kept"


@pytest.mark.parametrize(("content", "told"), [(b"hello", "no video"), (b"", "no bytes")])
def test_an_invalid_video_leaves_no_file(tmp_path: Path, content: bytes, told: str) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(content)
    _, err = run("video", str(film), "--csv", str(tmp_path / "out.csv"), status=1)
    assert told in err
    assert {path.name for path in tmp_path.iterdir()} == {"film.mp4"}
