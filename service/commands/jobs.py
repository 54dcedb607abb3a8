"""Which videos to process, and where the outputs of each go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from service.commands.ending import check_folders, check_outputs
from service.commands.sources import VIDEOS, find, is_folder, left_out, real
from service.errors import BadInput


@dataclass(frozen=True, slots=True)
class Job:
    """A video to process.

    Attributes:
        source: the video; or a folder that cannot be read, which fails like a missing video.
        movie: annotated MP4 to write; None for none.
        table: CSV to write; None for none.
    """

    source: Path
    movie: Path | None
    table: Path | None

    @property
    def outputs(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.movie, self.table) if path]

    @property
    def done(self) -> bool:
        """Whether all of them exist already."""
        return bool(self.outputs) and all(path.exists() for path in self.outputs)


def only(video: Path, movie: Path | None, table: Path | None) -> Job:
    """The job for a single video.

    Raises:
        BadParameter: an output cannot be written.
    """
    check_outputs(video, (movie, ".mp4"), (table, ""))
    return Job(video, movie, table)


def unfinished(videos: Sequence[Path], movies: Path | None, tables: Path | None) -> list[Job]:
    """The jobs for several videos whose outputs do not exist yet; prints what is skipped.

    Raises:
        BadParameter: there is no video, or an output cannot be written.
    """
    check_folders((movies, ".mp4"), (tables, ".csv"))
    try:
        found = _in_folders(videos, movies, tables)
    except BadInput as error:
        raise typer.BadParameter(str(error)) from error
    written = [output for job in found for output in job.outputs]
    if others := left_out(videos, VIDEOS, written):
        typer.echo(f"skipped: {others}", err=True)
    jobs = [job for job in found if not job.done]
    if len(jobs) < len(found):
        typer.echo(f"{len(found) - len(jobs)} of {len(found)} done before", err=True)
    return jobs


def _in_folders(sources: Sequence[Path], movies: Path | None, tables: Path | None) -> list[Job]:
    """The jobs for several videos, with outputs named after them.

    Args:
        sources: videos, and folders of them; subfolders are mirrored in the outputs' folders.
        movies: folder for annotated videos; None for none.
        tables: folder for CSV files; None for none.

    Raises:
        BadInput: a folder has no video, or an output would overwrite another or a video.
    """
    jobs: list[Job] = []
    made = [folder for folder in (movies, tables) if folder]
    for video, name in _named(sources, made):
        if is_folder(video):
            jobs.append(Job(video, None, None))
            continue
        movie = movies and movies / name.with_suffix(".mp4")
        table = tables and tables / name.with_suffix(".csv")
        jobs.append(Job(video, movie, table))
    taken = {real(job.source): job.source for job in jobs}
    for job in jobs:
        for output in job.outputs:
            other = taken.setdefault(real(output), job.source)
            if other is not job.source or real(output) == real(job.source):
                raise BadInput(
                    f"{output} for {job.source} would overwrite what {other} needs: "
                    "name another folder, or process them one by one"
                )
    return jobs


def _named(sources: Sequence[Path], made: Sequence[Path]) -> Iterator[tuple[Path, Path]]:
    """Each video once, with its path relative to the folder that it was found in.

    Args:
        sources: videos, and folders of them.
        made: folders of outputs; those within `sources` are not searched.
    """
    seen = set()
    for source in sources:
        below = {real(folder) for folder in made} - {real(source)}
        for video in find([source], VIDEOS):
            place = real(video)
            if place in seen or below & set(place.parents):
                continue
            seen.add(place)
            yield video, video.relative_to(source) if is_folder(source) else Path(video.name)
