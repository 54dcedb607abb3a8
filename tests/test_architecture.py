"""The picture in docs/architecture.md is the house as it stands."""

import re
from pathlib import Path

import grimp

DOCUMENT = Path(__file__).parent.parent / "docs" / "architecture.md"


def room(module: str) -> str:
    """The box of the diagram that a module belongs to: its first name below the package."""
    return module.split(".")[1]


def test_the_diagram_shows_every_module_and_import_and_no_other() -> None:
    graph = grimp.build_graph("service")
    modules = graph.modules - {"service"}
    imports = {
        (room(importer), room(imported))
        for importer in modules
        for imported in graph.find_modules_directly_imported_by(importer) - {"service"}
        if room(importer) != room(imported)
    }
    diagram = re.search("```mermaid\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert diagram is not None
    drawn = {
        (importer, imported)
        for importer, targets in re.findall(r"^ *(\w+) --> ([\w &]+)$", diagram[1], re.MULTILINE)
        for imported in targets.split(" & ")
    }
    boxes = {name for edge in drawn for name in edge}
    assert boxes == {room(module) for module in modules}
    assert drawn == imports
