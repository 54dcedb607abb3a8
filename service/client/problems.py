"""Problem documents as errors."""

from collections.abc import Mapping
from typing import Any

from service import errors
from service.contract.problems import TABLE

_BY_TYPE = {f"urn:gimefive:{kind.slug}": error for error, kind in TABLE.items()}


def raised(problem: Mapping[str, Any], retry_after: float = 1.0) -> errors.ServiceError:
    """The error in a problem document, with its request id as a note."""
    detail = str(problem.get("detail") or problem.get("title") or "the service failed")
    kind = _BY_TYPE.get(str(problem.get("type")), errors.ServiceError)
    error = kind(detail, retry_after) if issubclass(kind, errors.RetryLater) else kind(detail)
    assert isinstance(error, errors.ServiceError)  # noqa: S101  # the table holds nothing else
    if "request_id" in problem:
        error.add_note(f"request id: {problem['request_id']}")
    return error
