"""Who may ask: API keys from a file."""

import hashlib
import hmac
import re
from pathlib import Path

import structlog
from starlette.datastructures import Headers
from starlette.types import Scope

from service.errors import KeysUnusable, Unauthorised

log = structlog.get_logger(__name__)

SUBPROTOCOL = "gimefive.key."
"""How a browser, which cannot set a WebSocket's headers, names its key."""
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
"""The ways to show a key, as OpenAPI names them."""
LINE = re.compile(r"([\w.@-]+):([0-9a-fA-F]{64})")


class Keys:
    """The API keys of a file, read again whenever it changes.

    A line is ``name:sha256``, the hash in hexadecimal; empty lines and ``#`` comments are skipped.
    A name may stand on several lines, so that an old and a new key overlap.
    """

    def __init__(self, path: Path) -> None:
        """Read the file.

        Raises:
            KeysUnusable: it cannot be read, or has an invalid line.
        """
        self._path = path
        self._fault = ""
        self._seen: tuple[int, ...] | None = _fingerprint(path)
        self._keys = _read(path)

    def authenticate(self, scope: Scope) -> str:
        """The name of the key that an ASGI connection shows, WebSockets included.

        Raises:
            Unauthorised: it shows none, or an unknown one.
        """
        key = _shown(scope)
        if key is None:
            raise Unauthorised(
                "an API key is required: send it as Authorization: Bearer KEY or X-API-Key: KEY"
            )
        self._refresh()
        given = hashlib.sha256(key.encode("latin-1")).digest()  # the bytes that came
        # Every key is compared, however early one fits: the time tells nothing.
        names = [name for name, known in self._keys if hmac.compare_digest(known, given)]
        if not names:
            raise Unauthorised("unknown API key: it may have been replaced")
        return names[0]

    def _refresh(self) -> None:
        """Read the file if it has changed; an unusable one leaves the keys as they are.

        It is tried again each time, as whatever kept it from being read may pass.
        """
        seen = _fingerprint(self._path)
        if seen == self._seen:
            return
        try:
            self._keys = _read(self._path)
        except KeysUnusable as error:
            if str(error) != self._fault:
                log.error("the keys file is unusable: the keys known before stay", why=str(error))
            self._seen, self._fault = None, str(error)
        else:
            self._seen, self._fault = seen, ""
            log.info("keys read", file=str(self._path), keys=len(self._keys))


def subprotocol(scope: Scope) -> str | None:
    """The subprotocol to accept a WebSocket with: browsers insist that one of theirs is taken."""
    offered: list[str] = scope.get("subprotocols", [])
    return next((name for name in offered if name.startswith(SUBPROTOCOL)), None)


def _shown(scope: Scope) -> str | None:
    headers = Headers(scope=scope)
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer:
        return bearer.strip()
    if key := headers.get("x-api-key"):
        return key
    offered = subprotocol(scope)
    return offered and offered.removeprefix(SUBPROTOCOL)


def _fingerprint(path: Path) -> tuple[int, ...]:
    """What changes whenever a file does; nothing of one that is not there."""
    try:
        seen = path.stat()
    except OSError:
        return ()
    return seen.st_mtime_ns, seen.st_ctime_ns, seen.st_size, seen.st_ino


def _read(path: Path) -> tuple[tuple[str, bytes], ...]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise KeysUnusable(f"{path}: {error}") from error
    return tuple(
        _key(path, number, line.strip())
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def _key(path: Path, number: int, line: str) -> tuple[str, bytes]:
    found = LINE.fullmatch(line)
    if found is None:
        raise KeysUnusable(f"{path}, line {number}: not name:sha256 with 64 hexadecimal digits")
    return found[1], bytes.fromhex(found[2])
