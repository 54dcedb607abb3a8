"""The curl commands shown in the OpenAPI document."""

import re
import shlex
import subprocess
from pathlib import Path

import httpx

from tests import videos
from tests.servers import Server
from tests.waiting import LIMIT


def test_every_documented_curl_command_succeeds(
    server: Server, photograph: bytes, tmp_path: Path
) -> None:
    for name in ("face.jpg", "1.jpg", "2.jpg"):
        (tmp_path / name).write_bytes(photograph)
    (tmp_path / "video.mp4").write_bytes(videos.encode(videos.moving_portrait(2)))
    document = httpx.get(f"{server.url}/openapi.json", timeout=LIMIT).text
    commands = set(re.findall("`(curl [^`]+)`", document))
    assert len(commands) == 5
    for command in commands:
        sent = command.replace("http://localhost:8000", server.url)
        subprocess.run([*shlex.split(sent), "--fail"], cwd=tmp_path, check=True)
