"""Which videos a command works on, and where what it makes of each goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from service.commands.ending import check_folders, check_outputs
from service.commands.sources import VIDEOS, find, left_out
from service.errors import BadInput


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with a video.

    Attributes:
        source: the video.
        movie: MP4 to write, drawn on; None for none.
        table: CSV to write, a row a face; None for none.
    """

    source: Path
    movie: Path | None
    table: Path | None

    @property
    def outputs(self) -> list[Path]:
        """What is written."""
        return [path for path in (self.movie, self.table) if path]

    @property
    def done(self) -> bool:
        """Whether all of that is there already."""
        return bool(self.outputs) and all(path.exists() for path in self.outputs)


def only(video: Path, movie: Path | None, table: Path | None) -> Job:
    """What is to be done with one video.

    Raises:
        BadParameter: an output cannot be written.
    """
    check_outputs(video, (movie, ".mp4"), (table, ""))
    return Job(video, movie, table)


def unfinished(videos: Sequence[Path], movies: Path | None, tables: Path | None) -> list[Job]:
    """What is still to be done with several videos; says what is left out.

    Raises:
        BadParameter: there is no video, or an output cannot be written.
    """
    check_folders((movies, ".mp4"), (tables, ".csv"))
    try:
        found = _in_folders(videos, movies, tables)
    except BadInput as error:
        raise typer.BadParameter(str(error)) from error
    if others := left_out(videos, VIDEOS):
        typer.echo(f"passed over: {others}", err=True)
    jobs = [job for job in found if not job.done]
    if len(jobs) < len(found):
        told = f"{len(found) - len(jobs)} of {len(found)} were looked at before"
        typer.echo(told, err=True)
    return jobs


def _in_folders(sources: Sequence[Path], movies: Path | None, tables: Path | None) -> list[Job]:
    """What is to be done with several videos, whose outputs are named after them.

    Args:
        sources: videos, and folders of them, whose subfolders the outputs' folders have, too.
        movies: folder for what is drawn; None for none.
        tables: folder for the tables; None for none.

    Raises:
        BadInput: a folder has no video; two would have the same output, or one would be lost.
    """
    jobs: list[Job] = []
    made = [folder for folder in (movies, tables) if folder]
    for video, name in _named(sources, made):
        movie = movies and movies / name.with_suffix(".mp4")
        table = tables and tables / name.with_suffix(".csv")
        jobs.append(Job(video, movie, table))
    taken = {job.source.resolve(): job.source for job in jobs}
    for job in jobs:
        for output in job.outputs:
            other = taken.setdefault(output.resolve(), job.source)
            if other is not job.source or output.resolve() == job.source.resolve():
                raise BadInput(
                    f"{output} cannot be written for {job.source}, since {other} needs that name: "
                    "name another folder, or ask for them one by one"
                )
    return jobs


def _named(sources: Sequence[Path], made: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Each video once, and its path in the folder that it was found in.

    Args:
        sources: videos, and folders of them.
        made: folders in those, maybe, of what was made before.
    """
    seen = set()
    for source in sources:
        below = {folder.resolve() for folder in made} - {source.resolve()}
        for video in find([source], VIDEOS):
            real = video.resolve()
            if real in seen or below & set(real.parents):
                continue
            seen.add(real)
            yield video, video.relative_to(source) if source.is_dir() else Path(video.name)
