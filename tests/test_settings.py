import os
from math import inf, nan
from pathlib import Path

import pytest
from pydantic import ValidationError

from service.settings import Settings, available_cpus, trace_exporters, unknown_variables


def test_an_environment_variable_sets_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIMEFIVE_PORT", "9001")
    assert Settings().port == 9001


def test_unknown_variables_are_found_except_those_of_kubernetes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("PORT", "SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT_8000_TCP_ADDR", "KEY_FILE"):
        monkeypatch.setenv(f"GIMEFIVE_{name}", "1")
    assert unknown_variables() == ["GIMEFIVE_KEY_FILE"]


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "cpu:0", ""])
def test_an_invalid_device_name_is_refused(device: str) -> None:
    with pytest.raises(ValidationError, match="use auto, cpu, cuda or cuda:N"):
        Settings(device=device)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1"])
def test_a_valid_device_name_is_accepted(device: str) -> None:
    assert Settings(device=device).device == device


@pytest.mark.parametrize("name", ["temp_dir", "keys_file", "tls_cert", "tls_key"])
def test_a_missing_path_is_refused_and_its_setting_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"does not (point to|exist)") as told:
        Settings().with_changes(**{name: tmp_path / "missing"})
    assert told.value.errors()[0]["loc"] == (name,)


def test_changes_override_the_environment_unless_they_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIMEFIVE_PORT", "9001")
    monkeypatch.setenv("GIMEFIVE_HOST", "0.0.0.0")  # noqa: S104  # nothing is bound here
    changed = Settings().with_changes(port=9002, host=None)
    assert (changed.port, changed.host) == (9002, "0.0.0.0")  # noqa: S104  # likewise


def test_a_change_is_validated() -> None:
    with pytest.raises(ValidationError):
        Settings().with_changes(port=70_000)


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_the_embedded_store_holds_both_models() -> None:
    store = Settings().model_store
    assert {path.name for path in store.iterdir() if path.is_dir()} >= {"gimefive", "yunet"}


@pytest.mark.parametrize(
    ("quota", "count"),
    [("max 100000", 8), ("150000 100000", 2), ("20000 100000", 1), ("9900000 100000", 8)],
)
def test_a_container_cpu_quota_limits_the_available_cpus(
    quota: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(Path, "read_text", lambda _: quota)
    assert available_cpus() == count


@pytest.mark.parametrize(
    "name", ["drain_delay", "drain_timeout", "queue_seconds", "client_timeout", "threshold"]
)
@pytest.mark.parametrize("value", [inf, nan])
def test_a_number_that_is_not_finite_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Settings().with_changes(**{name: value})


def test_a_batch_that_no_device_profits_from_is_refused() -> None:
    with pytest.raises(ValidationError, match="1024"):
        Settings(max_batch=1025)


@pytest.mark.parametrize(
    ("named", "exporters"),
    [("", ["otlp"]), ("none", []), ("console, otlp", ["console", "otlp"])],
)
def test_trace_exporters_follow_the_opentelemetry_variable(
    named: str, exporters: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", named)
    assert trace_exporters() == exporters


def test_contradictory_settings_are_refused(tmp_path: Path) -> None:
    (key := tmp_path / "key.pem").touch()
    with pytest.raises(ValidationError, match="set GIMEFIVE_TLS_CERT"):
        Settings(tls_key=key)
    with pytest.raises(ValidationError, match="set GIMEFIVE_KEYS_FILE, too"):
        Settings(rate_limit=1)
    with pytest.raises(ValidationError, match="set it to 512"):
        Settings(fronts=2, queue_items=511, max_frames=256)
    with pytest.raises(ValidationError, match="set it to 256"):
        Settings(queue_items=255, max_frames=256)
    assert Settings(fronts=2, queue_items=512, max_frames=256).of_one_front().queue_items == 256
    with pytest.raises(ValidationError, match="choose another"):
        Settings(port=8934, ops_port=8934)
    with pytest.raises(ValidationError, match="https://example"):
        Settings(cors_origins="https://lab.example, example.org")
    assert Settings(cors_origins="https://lab.example:8443, *").origins[1] == "*"


def test_each_front_gets_its_share_of_the_limits() -> None:
    one = Settings(fronts=2, queue_items=1024, decode_threads=3).of_one_front()
    assert (one.fronts, one.queue_items, one.decode_threads) == (1, 512, 1)
