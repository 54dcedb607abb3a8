"""The documentation matches the code, and its links resolve."""

import re
from typing import get_args

from prometheus_client import CollectorRegistry

from benchmarks import sizing
from service.contract.problems import TABLE
from service.metrics import Metrics
from service.records import DropReason, ModelInfo, Refusal
from service.settings import Settings
from tests.documents import OPERATIONS, ROOT, rows


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    assert rows("Settings") == {f"GIMEFIVE_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        row = re.search(
            rf"^\| `GIMEFIVE_{name.upper()}` \| `(.*?)` \| (.*) \|$", OPERATIONS, re.MULTILINE
        )
        assert row is not None, name
        assert row[2] == field.description, name
        if field.default_factory is None:
            default = "unset" if field.default is None else field.default
            assert row[1] == str(default), name


def test_every_problem_type_is_documented() -> None:
    assert rows("Problems") == {f"urn:gimefive:{kind.slug}" for kind in TABLE.values()}


def test_every_metric_is_documented() -> None:
    info = ModelInfo("gimefive", "1", "fp32", "cpu", "0" * 64, "", 32)
    registry: CollectorRegistry = Metrics(info, []).registry
    metrics = {
        metric.name + ("_total" if metric.type == "counter" else ""): metric.documentation
        for metric in registry.collect()
    }
    section = OPERATIONS.partition("## Metrics\n")[2].partition("\n### Reasons\n")[0]
    assert dict(re.findall(r"^\| `(\w+)\S*` \| (.*) \|$", section, re.MULTILINE)) == metrics


def test_every_refusal_and_drop_reason_is_documented() -> None:
    assert rows("Reasons") == {*get_args(Refusal), *get_args(DropReason)}


def test_the_sizing_tables_match_the_benchmark_results() -> None:
    assert sizing.tables_of(OPERATIONS) == [sizing.table(), sizing.memory()]


def test_every_linked_file_exists() -> None:
    folders = ("benchmarks", "docs", "examples", "model_store", "service")
    places = ("*.md", *(f"{folder}/**/*.md" for folder in folders), "training/[A-Z]*.md")
    documents = [document for place in places for document in ROOT.glob(place)]
    missing = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert missing == []
