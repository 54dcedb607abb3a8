import hashlib
import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from service.errors import NotFound, StoreError
from service.records import EMOTIONS
from service.settings import Settings
from service.store import ModelStore, read_verified


def artefact(**changes: object) -> Mapping[str, object]:
    return {"file": "m.pt", "sha256": "0" * 64, "temperature": 1.5, **changes}


def card(**changes: Any) -> Mapping[str, Any]:  # noqa: ANN401  # any JSON
    return {
        "name": "gimefive",
        "version": "1",
        "labels": list(EMOTIONS),
        "threshold": 0.5,
        "precisions": {"fp32": artefact()},
        "default_precision": {"cpu": "fp32", "cuda": "fp16"},
        **changes,
    }


def put(root: Path, name: str, version: str, document: Mapping[str, Any]) -> None:
    folder = root / name / version
    folder.mkdir(parents=True)
    (folder / "card.json").write_text(json.dumps(document))


def test_container_image_and_wheel_include_only_the_newest_version() -> None:
    root = Path(__file__).parent.parent
    *older, newest = ModelStore(root / "model_store").versions("gimefive")
    left_out = (root / ".dockerignore").read_text().splitlines()
    named = [line for line in left_out if line.startswith("model_store/gimefive/")]
    assert named == [f"model_store/gimefive/{version}" for version in older]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    taken = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    names = (f"model_store/gimefive/{newest}", "model_store/yunet")
    assert taken == {name: f"service/{name}" for name in names}


def test_versions_are_ordered_numerically_and_the_highest_is_the_default(tmp_path: Path) -> None:
    for version in ("9", "10", "2"):
        put(tmp_path, "gimefive", version, card(version=version))
    store = ModelStore(tmp_path)
    assert store.versions("gimefive") == ("2", "9", "10")
    assert store.gimefive().card.version == "10"
    assert store.gimefive("2").card.version == "2"


def test_all_models_are_listed(tmp_path: Path) -> None:
    put(tmp_path, "yunet", "1", {})
    put(tmp_path, "gimefive", "1", card())
    assert ModelStore(tmp_path).names() == ("gimefive", "yunet")


def test_an_unknown_model_or_version_is_not_found(tmp_path: Path) -> None:
    put(tmp_path, "gimefive", "1", card())
    store = ModelStore(tmp_path)
    with pytest.raises(NotFound, match="use one of gimefive"):
        store.document("resnet")
    with pytest.raises(NotFound, match="use one of 1"):
        store.document("gimefive", "7")


def test_a_model_name_cannot_reach_outside_the_store(tmp_path: Path) -> None:
    put(tmp_path, "secret", "1", card())
    inner = tmp_path / "store"
    put(inner, "gimefive", "1", card())
    with pytest.raises(NotFound):
        ModelStore(inner).document("../secret")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": list(reversed(EMOTIONS))}, "labels are not"),
        ({"threshold": 2}, "threshold"),
        ({"precisions": {"int8": artefact()}}, "no fp32"),
        ({"default_precision": {"cuda": "fp16"}}, r"card\.json: Value error, .* cpu and cuda"),
        ({"precisions": {"fp32": artefact(sha256="x")}}, "sha256"),
        ({"precisions": {"fp32": artefact(temperature=0)}}, "temperature"),
        ({"precisions": {"fp32": artefact(exponent=-1)}}, "exponent"),
        ({"precisions": {"fp32": artefact(file="../m")}}, r"precisions\.fp32\.file"),
    ],
)
def test_an_invalid_card_is_refused_with_the_faulty_field(
    tmp_path: Path, changes: Mapping[str, Any], complaint: str
) -> None:
    put(tmp_path, "gimefive", "1", card(**changes))
    with pytest.raises(StoreError, match=complaint):
        ModelStore(tmp_path).gimefive()


@pytest.mark.parametrize(("text", "complaint"), [("{", "Expecting"), ("[]", "not a JSON object")])
def test_a_card_that_is_not_a_json_object_is_refused_with_its_path(
    tmp_path: Path, text: str, complaint: str
) -> None:
    put(tmp_path, "gimefive", "1", card())
    (tmp_path / "gimefive" / "1" / "card.json").write_text(text)
    with pytest.raises(StoreError, match=rf"gimefive/1/card\.json: {complaint}"):
        ModelStore(tmp_path).gimefive()


def test_a_card_without_a_checksum_is_refused_with_its_path(tmp_path: Path) -> None:
    put(tmp_path, "yunet", "1", {"file": "model.onnx"})
    store = ModelStore(tmp_path)
    with pytest.raises(StoreError, match=r"yunet/1/card\.json: sha256: Field required"):
        store.detector()
    with pytest.raises(StoreError, match=r"yunet/1/card\.json: sha256: Field required"):
        next(store.verify())


@pytest.mark.parametrize("precisions", [[], "fp32", {"fp32": []}])
def test_a_card_with_malformed_precisions_fails_verification(
    tmp_path: Path, precisions: object
) -> None:
    put(tmp_path, "gimefive", "1", card(precisions=precisions))
    with pytest.raises(StoreError, match=r"card\.json: "):
        list(ModelStore(tmp_path).verify())


def test_a_missing_store_model_or_version_raises_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="set GIMEFIVE_MODEL_STORE"):
        ModelStore(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="set GIMEFIVE_MODEL_STORE"):
        ModelStore(Path(__file__))
    store = ModelStore(tmp_path)
    with pytest.raises(StoreError, match="no model 'gimefive'"):
        store.gimefive()
    with pytest.raises(StoreError, match="no model 'yunet'"):
        store.detector()
    with pytest.raises(StoreError, match=r"no version '99' of gimefive: use one of 1, "):
        ModelStore(Settings().model_store).gimefive("99")


def test_a_file_is_read_only_if_its_checksum_matches(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    assert read_verified(path, right) == b"weights"
    path.write_bytes(b"weight")
    with pytest.raises(StoreError, match="truncated or altered"):
        read_verified(path, right)
    path.unlink()
    with pytest.raises(StoreError, match="No such file"):
        read_verified(path, right)


def test_verification_stops_at_the_first_altered_file(
    tmp_path: Path,
) -> None:
    embedded = Settings().model_store
    sound = [path.relative_to(embedded) for path in ModelStore(embedded).verify()]
    assert {path.name for path in sound} >= {"model.fp32.pt", "model.int8.pt", "model.onnx"}
    copy = tmp_path / "store"
    shutil.copytree(embedded, copy)
    with (copy / sound[-1]).open("ab") as file:
        file.write(b".")
    verified = ModelStore(copy).verify()
    assert [next(verified).relative_to(copy) for _ in sound[:-1]] == sound[:-1]
    with pytest.raises(StoreError, match="truncated or altered"):
        next(verified)
