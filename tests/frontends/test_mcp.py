"""`upscaler mcp`, as a client of the protocol uses it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

mcp = pytest.importorskip("mcp")

from upscaler_ui import mcp_server  # noqa: E402 - after it is known that the SDK is there

from upscaler import loading  # noqa: E402
from upscaler.errors import SettingsError  # noqa: E402
from upscaler.pictures.files import load, read_settings  # noqa: E402
from upscaler.testing import IdentityRefiner, NearestUpscaler  # noqa: E402

from .conftest import run_apart  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loading, "upscaler_for", lambda settings: NearestUpscaler())
    monkeypatch.setattr(loading, "refiner_for", lambda settings: IdentityRefiner())
    place = tmp_path / "pictures"
    place.mkdir()
    Image.fromarray(np.full((24, 32, 3), 90, np.uint8)).save(place / "a.png")
    Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "secret.png")
    (place / "link.png").symlink_to(tmp_path / "secret.png")
    return place


def using(server: Any, talk: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    async def run() -> None:
        async with mcp.Client(server) as client:
            await talk(client)

    run_apart(run())


def test_the_tools(folder: Path) -> None:
    told: list[float] = []

    async def talk(client: Any) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == {"plan", "upscale", "models"}
        assert "context" not in str(tools["upscale"].input_schema)
        plan = (await client.call_tool("plan", {"path": "a.png", "scale": 2})).structured_content
        assert plan["target"] == [64, 48]
        assert plan["summary"].startswith("64x48, about ")

        async def note(progress: float, total: float | None, message: str | None) -> None:
            told.append(progress)

        done = await client.call_tool("upscale", {"path": str(folder / "a.png"), "scale": 2}, progress_callback=note)
        assert not done.is_error, done
        assert done.structured_content["output"] == str(folder / "a-large.png")
        again = await client.call_tool("upscale", {"path": "a.png", "options": {"width": 40, "format": "webp"}})
        assert again.structured_content["size"] == [40, 30]
        third = await client.call_tool("upscale", {"path": "a-large.png", "scale": 1})
        assert third.structured_content["output"] == str(folder / "a-large-2.png"), "nothing is replaced"
        names = [model["name"] for model in (await client.call_tool("models", {})).structured_content["result"]]
        assert "pocket" in names

    using(mcp_server.make_server([folder]), talk)
    assert told
    assert load(folder / "a-large.png").size == (64, 48)
    stored = read_settings(folder / "a-large.png")
    assert stored is not None
    assert stored["target"]["scale"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"path": "../secret.png"}, "outside the allowed folders"),
        ({"path": "/etc/passwd"}, "outside the allowed folders"),
        ({"path": "link.png"}, "outside the allowed folders"),
        ({"path": "a.png", "output": "../b.png"}, "outside the allowed folders"),
        ({"path": "a.png", "output": "a.png"}, "already exists"),
        ({"path": "missing.png"}, "missing.png"),
        ({"path": "a.png", "scale": 99}, "scale: 99"),
        ({"path": "a.png", "preset": "phto"}, "did you mean photo"),
        ({"path": "a.png", "options": {"model": "someone/on-the-hub"}}, "is installed"),
        ({"path": "a.png", "options": {"overwrite": True}}, "leave it out"),
        ({"path": "a.png", "options": {"strenght": 1}}, "did you mean strength"),
    ],
)
def test_what_is_refused_says_why(folder: Path, arguments: dict[str, Any], words: str) -> None:
    async def talk(client: Any) -> None:
        answer = await client.call_tool("upscale", arguments)
        assert answer.is_error
        assert words in answer.content[0].text

    using(mcp_server.make_server([folder]), talk)
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "link.png"]


def test_a_folder_has_to_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="name one that exists"):
        mcp_server.make_server([tmp_path / "nowhere"])


def test_over_standard_input_and_output(folder: Path) -> None:
    code = "import sys; from pathlib import Path; from upscaler_ui.mcp_server import serve; serve([Path(sys.argv[1])])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "ui")))}
    process = mcp.StdioServerParameters(command=sys.executable, args=["-c", code, str(folder)], env=environment)

    async def talk(client: Any) -> None:
        plan = (await client.call_tool("plan", {"path": "a.png"})).structured_content
        assert plan["target"] == [128, 96]

    using(process, talk)
