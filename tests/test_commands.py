"""How commands handle a service's answers, in process; see `test_cli` for the command line."""

import asyncio
import csv
import errno
import io
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from PIL import Image
from structlog.testing import capture_logs

from service import errors
from service.client import Client, Unreachable
from service.commands import pictures, report, video
from service.commands.backends import remote_backend
from service.commands.ending import check_folders
from service.commands.jobs import Job, unfinished
from service.commands.report import Console
from service.contract.schemas import ClassifyResponse
from service.records import FaceMode
from tests.api import png
from tests.disks import room_for
from tests.served import served

pytestmark = pytest.mark.anyio

QUERY = dict.fromkeys(("fps", "every", "start", "end")) | {"faces": "whole"}
FACE = {
    "box": {"x": 0, "y": 0, "width": 9, "height": 9},
    "detection_score": None,
    "landmarks": None,
    "emotion": "fear",
    "confidence": 1.0,
    "abstained": False,
    "scores": dict.fromkeys(("happiness", "surprise", "sadness", "anger", "disgust"), 0.0)
    | {"fear": 1.0},
    "track": 1,
}
LINES: list[dict[str, Any]] = [
    {
        "video": {"width": 9, "height": 9}
        | dict.fromkeys(("fps", "duration", "frames", "sampled_frames"))
    },
    {"frame": 0, "time": 0.0, "faces": [FACE]},
]


def problem(slug: str, status: int) -> dict[str, Any]:
    """A problem document."""
    kind = {"type": f"urn:gimefive:{slug}", "title": slug, "status": status, "detail": f"{slug}!"}
    return kind | {"request_id": "7"}


def ndjson(lines: list[dict[str, Any]]) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in lines)


@asynccontextmanager
async def answering(text: str, status: int = 200) -> AsyncIterator[str]:
    """The URL of a service that gives this answer to every request."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A command that is aborted leaves its other requests.
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head.lower())
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(f"HTTP/1.1 {status} Said\r\nConnection: close\r\n\r\n{text}".encode())
            await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def captured_console() -> Console:
    """A console that captures progress and problems."""
    return Console(file=io.StringIO(), width=200)


def output_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("again", "slug", "status", "kept"),
    [
        (True, "model-failure", 500, False),
        (True, "not-a-video", 400, True),
        (False, "model-failure", 500, True),
        (False, "not-a-video", 400, True),
    ],
)
async def test_a_csv_of_a_failed_video_is_kept_unless_a_rerun_could_improve_it(
    tmp_path: Path, again: bool, slug: str, status: int, kept: bool
) -> None:
    films = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for film in films:
        film.write_bytes(b"film")
    jobs = [Job(film, None, film.with_suffix(".csv")) for film in films]
    lines = [*LINES, {"problem": problem(slug, status)}]
    console = captured_console()
    async with answering(ndjson(lines)) as url, remote_backend(url, None) as backend:
        assert await video.process(backend, jobs, QUERY, console, again=again) == 2
    said = output_of(console)
    for job in jobs:
        assert f"{job.source}: {slug}!" in said
        assert job.table is not None
        assert job.table.exists() is kept
        assert (f"{job.table} has the rows" in said) is kept
        if kept:
            assert len(job.table.read_text().splitlines()) == 2


async def test_rows_that_end_without_a_summary_fail_the_video_and_leave_no_table(
    tmp_path: Path,
) -> None:
    film, console = tmp_path / "a.mp4", captured_console()
    film.write_bytes(b"film")
    jobs = [Job(film, None, tmp_path / "a.csv")]
    async with answering(ndjson(LINES)) as url, remote_backend(url, None) as backend:
        with pytest.raises(Unreachable, match="ended early"):
            await video.process(backend, jobs, QUERY, console, again=True)
        with Client(url) as client, pytest.raises(Unreachable, match="ended early"):
            await asyncio.to_thread(client.video_csv, film, tmp_path / "b.csv")
    assert not (tmp_path / "a.csv").exists()
    assert not (tmp_path / "b.csv").exists()


async def test_a_failed_frame_fails_the_command_but_the_summary_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film, console = tmp_path / "a.mp4", captured_console()
    film.write_bytes(b"film")
    seen = {"track": 1, "first_time": 0.0, "last_time": 0.5, "frames": 1, "emotion": "fear"}
    lines = [
        *LINES,
        {"frame": 3, "time": 0.5, "problem": problem("model-failure", 500)},
        {"summary": {"frames": 2, "faces": 1, "tracks": [seen | {"scores": FACE["scores"]}]}},
    ]
    async with answering(ndjson(lines)) as url, remote_backend(url, None) as backend:
        job = Job(film, None, None)
        assert await video.process(backend, [job], QUERY, console, again=False) == 1
    assert output_of(console) == "frame 3: model-failure!\n"
    out = capsys.readouterr().out
    assert out.startswith(f"{film}: 1 face in 2 frames\n")
    assert out.splitlines()[-1].split() == ["#1", *["0.00", "s", "0.50", "s", "1", "fear"]]


async def test_a_frame_that_the_model_failed_on_leaves_its_video_for_another_run(
    tmp_path: Path,
) -> None:
    film, console = tmp_path / "a.mp4", captured_console()
    film.write_bytes(b"film")
    lines = [
        *LINES,
        {"frame": 3, "time": 0.5, "problem": problem("model-failure", 500)},
        {"summary": {"frames": 2, "faces": 1, "tracks": []}},
    ]
    async with answering(ndjson(lines)) as url, remote_backend(url, None) as backend:
        jobs = [Job(film, None, tmp_path / "a.csv")]
        assert await video.process(backend, jobs, QUERY, console, again=True) == 1
    assert output_of(console).endswith("the model failed on 1 frame: run it again\n")
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize(
    ("slug", "status", "error"),
    [("unauthorized", 401, errors.Unauthorised), ("not-found", 404, errors.NotFound)],
)
async def test_an_error_that_affects_every_file_aborts_the_command(
    tmp_path: Path, slug: str, status: int, error: type[errors.ServiceError]
) -> None:
    file, console = tmp_path / "a", captured_console()
    file.write_bytes(png(1))
    async with (
        answering(json.dumps(problem(slug, status)), status) as url,
        remote_backend(url, None) as backend,
    ):
        with pytest.raises(error):
            await pictures.classify(backend, [file] * 3, "whole", report.JsonLinesWriter(), console)
        jobs = [Job(file, None, None)] * 3
        with pytest.raises(error):
            await video.process(backend, jobs, QUERY, console, again=True)
    assert output_of(console) == ""


@pytest.mark.parametrize(("key", "told"), [(None, "--key-file"), ("wrong", "unauthorized!")])
async def test_a_missing_key_is_reported_with_the_option_for_it(
    tmp_path: Path, key: str | None, told: str
) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(png(1))
    async with answering(json.dumps(problem("unauthorized", 401)), 401) as url:
        with pytest.raises(errors.Unauthorised, match=told):
            async with remote_backend(url, key) as backend:
                await backend.classify(picture.read_bytes(), "whole")


async def test_an_error_of_one_file_is_reported_and_the_others_are_processed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, console = tmp_path / "a", captured_console()
    file.write_bytes(png(1))
    async with (
        answering(json.dumps(problem("too-large", 413)), 413) as url,
        remote_backend(url, None) as backend,
    ):
        writer = report.TableWriter()
        assert await pictures.classify(backend, [file] * 3, "whole", writer, console) == 3
        jobs = [Job(file, None, None)] * 3
        assert await video.process(backend, jobs, QUERY, console, again=True) == 3
    assert output_of(console) == f"{file}: too-large!\n" * 6
    assert capsys.readouterr().out.count("problem") == 3


SUMMARY = {"summary": {"frames": 1, "faces": 1, "tracks": []}}


@pytest.mark.parametrize(
    ("command", "with_stderr"),
    [
        ("classify a.mp4", False),
        ("classify a.mp4 --json", False),
        ("classify a.mp4 --csv", False),
        ("video a.mp4", False),
        ("classify gone.png a.mp4", True),
    ],
)
async def test_closing_a_pipe_early_ends_the_command_without_an_error(
    tmp_path: Path, command: str, with_stderr: bool
) -> None:
    (tmp_path / "a.mp4").write_bytes(png(1))
    text = ndjson([*LINES, SUMMARY]) if command.startswith("video") else classified("1")
    reader, closed = os.pipe()
    os.close(reader)
    async with answering(text) as url:
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service.cli", *command.split(), "--url", url),
            stdout=closed,
            stderr=closed if with_stderr else asyncio.subprocess.PIPE,
            cwd=tmp_path,
        )
        os.close(closed)
        _, said = await running.communicate()
    assert (running.returncode, said or b"") == (0, b"")


@pytest.mark.parametrize("kind", ["json", "csv"])
async def test_rows_go_to_standard_output_while_progress_is_shown_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(png(1))
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    writer = report.JsonLinesWriter() if kind == "json" else report.CsvWriter(report.printed)
    async with answering(classified("1")) as url, remote_backend(url, None) as backend:
        assert await pictures.classify(backend, [file] * 2, "whole", writer, terminal) == 0
    assert [str(file) in line for line in capsys.readouterr().out.splitlines()] == [True, True]
    assert "classifying" in output_of(terminal)
    assert str(file) not in output_of(terminal)


async def test_a_table_that_is_not_for_a_terminal_has_a_line_per_face(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{'long' * 50}.png"
    file.write_bytes(png(1))
    async with answering(classified("1")) as url, remote_backend(url, None) as backend:
        await pictures.classify(backend, [file], "whole", report.TableWriter(), captured_console())
    assert [line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:]] == [
        [str(file), "fear"]
    ]


async def test_the_table_has_the_answers_that_came_before_the_service_went_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for file in files:
        file.write_bytes(png(1))

    class Leaving:
        """A service that answers the first picture only."""

        at_once = 1

        def __init__(self) -> None:
            self.asked = 0

        async def classify(self, data: bytes, faces: FaceMode) -> Any:  # noqa: ANN401, ARG002
            self.asked += 1
            if self.asked > 1:
                raise Unreachable("gone")
            return ClassifyResponse.model_validate_json(classified("1"))

    leaving: Any = Leaving()
    with pytest.raises(Unreachable):
        await pictures.classify(leaving, files, "whole", report.TableWriter(), captured_console())
    assert "fear" in capsys.readouterr().out
    with pytest.raises(Unreachable):
        await pictures.classify(leaving, files, "whole", report.TableWriter(), captured_console())
    assert capsys.readouterr().out == "", "no table without a row"


async def test_answers_keep_the_order_of_the_files_and_problems_go_to_the_console(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, large, broken, small = (tmp_path / name for name in "dcab")
    Image.effect_noise((1500, 1500), 50).save(large, "PNG")
    broken.write_bytes(b"broken")
    small.write_bytes(png(1))
    console, order = captured_console(), [large, missing, small, broken]
    with capture_logs():
        async with served() as (_, url), remote_backend(url, None) as backend:
            writer = report.JsonLinesWriter()
            assert await pictures.classify(backend, order, "whole", writer, console) == 2
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["path"] for line in lines] == [str(path) for path in order]
    assert ["problem" in line for line in lines] == [path in {missing, broken} for path in order]
    said = output_of(console).splitlines()
    assert [line.partition(":")[0] for line in said] == [str(missing), str(broken)]


async def rows_of(*paths: Path, status: int) -> list[list[str]]:
    """The rows that `classify --csv` prints for these paths; `status` is how many fail."""
    out = io.StringIO()
    async with answering(classified("1")) as url:
        with redirect_stdout(out):
            run, backend = pictures.run, remote_backend(url, None)
            failed = await asyncio.to_thread(
                run, backend, paths, "whole", as_json=False, as_csv=True
            )
    assert failed == status
    return list(csv.reader(io.StringIO(out.getvalue())))[1:]


async def test_a_picture_that_is_named_twice_has_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    picture, link, other = (folder / name for name in ("a.png", "b.png", "c.txt"))
    picture.write_bytes(png(1))
    link.symlink_to("a.png")
    other.touch()
    again = (picture, tmp_path / picture, Path("photos/../photos"), folder)
    rows = await rows_of(*again, status=0)
    assert [row[0] for row in rows] == [str(picture), "photos/../photos/b.png"]
    assert capsys.readouterr().err == "skipped: 1 .txt\n"


async def test_a_folder_that_cannot_be_read_fails_and_the_others_are_processed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed, table = tmp_path / "closed.png", tmp_path / "tables"
    closed.mkdir()
    for name in ("a.png", "b.mp4"):
        (tmp_path / name).write_bytes(png(1))
    real = os.scandir

    def scandir(path: Any = ".") -> Any:  # noqa: ANN401  # root may read every folder
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    for paths in ([tmp_path], [closed, tmp_path / "a.png"]):
        assert len(await rows_of(*paths, status=1)) == 1
        assert f"{closed}: " in capsys.readouterr().err
    lines = [*LINES, SUMMARY]
    async with answering(ndjson(lines)) as url:
        run, backend, query = video.run, remote_backend(url, None), QUERY | {"start": 0}
        assert await asyncio.to_thread(run, backend, [tmp_path], None, table, query) == 1
    assert f"{closed}: " in capsys.readouterr().err
    assert [path.name for path in table.iterdir()] == ["b.csv"]


def classified(version: str) -> str:
    """A classify response of this model version."""
    model = {"name": "gimefive", "version": version, "precision": "int8"}
    return json.dumps({"model": model, "image": {"width": 9, "height": 9}, "faces": [FACE]})


async def classify_into(table: Path, version: str, *files: Path, faces: FaceMode = "whole") -> int:
    """Classify the files into a CSV with this model version; return the number of failures."""
    async with answering(classified(version)) as url:
        backend, paths = remote_backend(url, None), [*files, table]
        return await asyncio.to_thread(
            pictures.run, backend, paths, faces, as_json=False, as_csv=True
        )


async def test_a_csv_file_accepts_rows_of_one_model_and_face_mode_only(tmp_path: Path) -> None:
    first, second, table = (tmp_path / name for name in ("a.png", "b.png", "out.csv"))
    for file in (first, second):
        file.write_bytes(png(1))
    assert await classify_into(table, "1", first) == 0
    before = table.read_text()
    with pytest.raises(errors.BadInput, match=r"from gimefive 1 .*from gimefive 2 "):
        await classify_into(table, "2", first, second)
    with pytest.raises(errors.BadInput, match="faces=detect"):
        await classify_into(table, "1", first, second, faces="detect")
    assert table.read_text() == before
    assert await classify_into(table, "1", first, second) == 0
    assert len(table.read_text().splitlines()) == 3


async def test_a_csv_file_is_resumed_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two", "far/tables"):
        (tmp_path / name / "photos").mkdir(parents=True)
        (tmp_path / name / "photos" / "a.png").write_bytes(png(1))
    (tmp_path / "tables").symlink_to("far/tables")
    for folder, table, *photos in (
        ("one", "../tables/out.csv", "photos"),
        ("two", "../tables/out.csv", "photos"),
        ("one/photos", "../../tables/out.csv", ".", "../../two/photos"),
    ):
        monkeypatch.chdir(tmp_path / folder)
        assert await classify_into(Path(table), "1", *map(Path, photos)) == 0
    assert capsys.readouterr().err == "2 of 2 done before\n"
    rows = (tmp_path / "tables" / "out.csv").read_text().splitlines()[1:]
    names = [row.partition(",")[0] for row in rows]
    assert names == ["../../one/photos/a.png", "../../two/photos/a.png"]


async def test_a_path_that_goes_up_from_a_linked_folder_is_listed_where_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "far" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/deep")
    for folder in (tmp_path, tmp_path / "far"):
        (folder / "a.png").write_bytes(png(1))
    monkeypatch.chdir(tmp_path)
    for picture in ("link/../a.png", "far/a.png"):
        assert await classify_into(Path("out.csv"), "1", Path(picture)) == 0
    assert capsys.readouterr().err == "1 of 1 done before\n"
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith("far/a.png,")


async def test_a_disk_that_is_full_at_the_first_row_leaves_neither_table_nor_note(
    tmp_path: Path,
) -> None:
    picture, table = tmp_path / "a.png", tmp_path / "out.csv"
    picture.write_bytes(png(1))
    with room_for(100), pytest.raises(OSError, match=r"out\.csv'"):
        await classify_into(table, "1", picture)
    assert not table.exists()
    assert not (tmp_path / "out.csv.json").exists()


async def test_a_missing_or_damaged_model_note_of_a_csv_file_is_handled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, table = (tmp_path / name for name in ("a.png", "b.png", "out.csv"))
    for file in (first, second):
        file.write_bytes(png(1))
    await classify_into(table, "1", first)
    note = tmp_path / "out.csv.json"
    note.unlink()
    assert await classify_into(table, "2", first, second) == 0
    assert "does not say which model" in capsys.readouterr().err
    assert not note.exists()
    note.write_text("{}")
    with pytest.raises(errors.BadInput, match="damaged"):
        await classify_into(table, "2", first, second)
    table.unlink()
    with pytest.raises(errors.BadInput, match="another kind of file"):
        await classify_into(table, "2", first)
    assert note.read_text() == "{}"
    note.unlink()
    assert await classify_into(table, "2", first) == 0
    assert '"version":"2"' in note.read_text()
    table.unlink()
    assert await classify_into(table, "1", first) == 0
    assert '"version":"1"' in note.read_text()


async def test_a_run_does_not_list_its_own_csv_and_note_as_skipped_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, table = tmp_path / "a.png", tmp_path / "out.csv"
    picture.write_bytes(png(1))
    (tmp_path / "other.csv").touch()
    await classify_into(table, "1", tmp_path)
    capsys.readouterr()
    await classify_into(table, "1", tmp_path)
    assert capsys.readouterr().err == "skipped: 1 .csv\n1 of 1 done before\n"
    picture.unlink()
    with pytest.raises(typer.BadParameter, match=r"only 1 \.csv$"):
        await classify_into(table, "1", tmp_path)


async def test_a_run_refused_for_a_foreign_note_leaves_no_csv(tmp_path: Path) -> None:
    picture, table = tmp_path / "a.png", tmp_path / "out.csv"
    note = tmp_path / "out.csv.json"
    picture.write_bytes(png(1))
    note.write_text("[]")
    with pytest.raises(errors.BadInput, match="another kind of file"):
        await classify_into(table, "1", picture)
    assert not table.exists()
    assert note.read_text() == "[]"


def test_tables_of_an_earlier_run_over_videos_are_not_listed_as_skipped_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.mp4", "a.csv", "other.csv"):
        (tmp_path / name).touch()
    assert unfinished([tmp_path], None, tmp_path) == []
    assert capsys.readouterr().err == "skipped: 1 .csv\n1 of 1 done before\n"


@pytest.mark.parametrize(("faces", "said"), [("detect", "no face"), ("whole", "happiness?")])
async def test_the_table_shows_uncertain_emotions_and_images_without_a_face(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], faces: FaceMode, said: str
) -> None:
    wall = tmp_path / "wall.png"
    wall.write_bytes(png(0))
    async with served(threshold=1) as (_, url), remote_backend(url, None) as backend:
        await pictures.classify(backend, [wall], faces, report.TableWriter(), captured_console())
    assert said in capsys.readouterr().out


def test_an_existing_output_folder_named_like_a_file_is_accepted(tmp_path: Path) -> None:
    folder, none = tmp_path / "all.csv", tmp_path / "none.CSV"
    folder.mkdir()
    check_folders((folder, ".csv"), (tmp_path / "new", ".mp4"), (None, ".mp4"))
    with pytest.raises(typer.BadParameter, match="name a folder"):
        check_folders((folder, ".csv"), (none, ".csv"))
