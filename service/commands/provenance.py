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
        note: that file.
    """

    def __init__(self, table: Path, faces: FaceMode) -> None:
        """The table has no rows yet, unless `resume` is called.

        Args:
            table: the CSV file; it need not exist.
            faces: how this run finds faces.

        Raises:
            BadInput: the note is damaged, or another kind of file, which is not overwritten.
        """
        self.note = table.with_name(f"{table.name}.json")
        self._table = table
        self._faces = faces
        self._origin: Origin | None = None
        self._unknown = False
        self._read()  # a foreign note is refused before the table is created

    def resume(self) -> bool:
        """The table has rows: their origin is that of the note; false if there is none.

        Raises:
            BadInput: as when it was made.
        """
        self._origin = self._read()
        self._unknown = self._origin is None
        return not self._unknown

    def check(self, model: ModelRef) -> None:
        """Note the first model that answers, and compare the others with it.

        Raises:
            BadInput: it is another.
        """
        origin = Origin(**model.model_dump(), faces=self._faces)
        if self._origin is None:
            self._origin = origin
            if not self._unknown:
                with atomic_write(self.note) as file:
                    file.write(f"{origin.model_dump_json()}\n".encode())
        if origin != self._origin:
            raise BadInput(
                f"the rows of {self._table} are from {self._origin}, the next ones would be from "
                f"{origin}: choose another file, or use the same model and options"
            )

    def _read(self) -> Origin | None:
        try:
            return Origin.model_validate_json(self.note.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise BadInput(
                f"{self.note} is damaged or another kind of file: remove or rename it"
            ) from error
