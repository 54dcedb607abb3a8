"""The diagram in docs/architecture.md matches the imports of the service."""

import re
from pathlib import Path

import grimp

DOCUMENT = Path(__file__).parent.parent / "docs" / "architecture.md"


def node(module: str) -> str:
    """The diagram node of a module: the first part of its name below the package."""
    return module.split(".")[1]


def test_diagram_shows_exactly_the_modules_and_imports_of_the_service() -> None:
    graph = grimp.build_graph("service")
    modules = graph.modules - {"service"}
    imports = {
        (node(importer), node(imported))
        for importer in modules
        for imported in graph.find_modules_directly_imported_by(importer) - {"service"}
        if node(importer) != node(imported)
    }
    diagram = re.search("```mermaid\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert diagram is not None
    drawn = {
        (importer, imported)
        for importer, targets in re.findall(r"^ *(\w+) --> ([\w &]+)$", diagram[1], re.MULTILINE)
        for imported in targets.split(" & ")
    }
    nodes = {name for edge in drawn for name in edge}
    assert nodes == {node(module) for module in modules}
    assert drawn == imports
