"""A note of which model wrote a CSV file, so that no later run mixes in another's rows."""

from pathlib import Path

from service.atomic import atomic_write
from service.contract.schemas import ModelRef
from service.errors import BadInput
from service.records import FaceMode


class Origin(ModelRef):
    """What produced rows: a model, and how faces were found."""

    faces: FaceMode

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.precision}, faces={self.faces})"


class Provenance:
    """The one origin of a CSV file's rows, in ``FILE.csv.json`` beside it.

    Attributes:
        missing: whether the file has rows whose origin is not noted.
    """

    def __init__(self, table: Path, faces: FaceMode, *, begun: bool) -> None:
        """Read what was noted.

        Args:
            table: the CSV file.
            faces: how this run finds faces.
            begun: whether the file has rows.

        Raises:
            BadInput: the note is damaged, or another kind of file.
        """
        self._table = table
        self._note = table.with_name(f"{table.name}.json")
        self._faces = faces
        noted = self._read()  # also for a new file, lest somebody else's is overwritten
        self._origin = noted if begun else None
        self.missing = begun and self._origin is None

    def check(self, model: ModelRef) -> None:
        """Note the first model that answers, and compare the others with it.

        Raises:
            BadInput: it is another.
        """
        origin = Origin(**model.model_dump(), faces=self._faces)
        if self._origin is None:
            self._origin = origin
            if not self.missing:
                with atomic_write(self._note) as file:
                    file.write(f"{origin.model_dump_json()}\n".encode())
        if origin != self._origin:
            raise BadInput(
                f"the rows of {self._table} are from {self._origin}, the next ones would be from "
                f"{origin}: choose another file, or use the same model and options"
            )

    def _read(self) -> Origin | None:
        try:
            return Origin.model_validate_json(self._note.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BadInput(
                f"{self._note} is damaged or another kind of file: remove or rename it"
            ) from error
