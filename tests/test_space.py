"""The Gradio Space of the documentation: its settings, and what its page makes of a photo."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
SPACE = ROOT / "docs" / "examples" / "space"


def test_the_settings_are_those_that_spaces_read() -> None:
    settings = yaml.safe_load((SPACE / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert settings["sdk"] == "gradio"
    assert (SPACE / settings["app_file"]).is_file()
    assert len(settings["short_description"]) <= 60
    assert (3, 11) <= tuple(map(int, settings["python_version"].split("."))) < (3, 15)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert settings["license"] == project["license"].lower()
    assert f"{project['name']}>=0.1" in (SPACE / "requirements.txt").read_text(encoding="utf-8").split()


@pytest.fixture
def app() -> Any:
    pytest.importorskip("gradio")
    spec = importlib.util.spec_from_file_location("space_app", SPACE / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of gradio and what it stands on
def test_a_photo_becomes_an_avatar_a_film_and_files_that_do_not_stay(app: Any, tmp_path: Path) -> None:
    import gradio
    import skimage.data
    from PIL import Image

    photo = tmp_path / "photo.png"
    Image.fromarray(skimage.data.astronaut()).save(photo)
    seen: list[str] = []

    def show(fraction: float | None, desc: str) -> None:
        assert fraction is None or 0 <= fraction <= 1
        seen.append(desc)

    with pytest.raises(gradio.Error, match="Choose a photo"):
        next(app.build(None, "yes", "instant", "wave", show))
    with pytest.raises(gradio.Error, match="what the person in the photo agreed to"):
        next(app.build(str(photo), " ", "instant", "wave", show))
    empty = tmp_path / "empty.png"
    Image.new("RGB", (200, 200), "gray").save(empty)
    with pytest.raises(gradio.Error, match="person"):
        next(app.build(str(empty), "yes", "instant", "wave", show))
    making = app.build(str(photo), "Public-domain portrait.", "instant", "wave", show)
    mesh, film, files = next(making)
    assert Path(mesh).read_bytes()[:4] == b"glTF"
    assert Path(film).stat().st_size > 10_000
    assert [Path(f).suffix for f in files] == [".glb", ".html"]
    assert any(text.startswith("tracking") for text in seen)
    assert list(making) == []
    assert not Path(mesh).parent.exists()
