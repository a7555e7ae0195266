"""Every command line in the documentation is run, page by page, in a small world: see ``docs_world.py``."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import sys
import wave
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import avatarkit.io.photo
import avatarkit.pipeline.plan
from avatarkit.config import Recipe
from avatarkit.registry import Registry
from avatarkit.testing import tiny_subject
from avatarkit_cli.main import app
from avatarkit_cli.plugin_commands import add_commands

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
NOT_RUN = {
    "avatarkit view": "serves until it is stopped; tests of the viewer run it",
    "avatarkit studio": "serves until it is stopped; tests/test_studio.py runs it",
    "avatarkit revoke": "ends the avatar that later pages use; tests of the plugin run it",
    "avatarkit batch": "starts processes, which the stand-ins do not reach; tests/test_batch.py runs it",
    "avatarkit evaluate": "measures with a perceptual network, which has no stand-in; tests/test_evaluation.py runs it",
    "avatarkit weights fetch": "asks other servers; tests of the command run it against a server of their own",
    "avatarkit build ada.jpg --preset draft --commercial": "the stand-ins declare no terms; tests/test_trust.py runs it",
    "avatarkit build ada.jpg --plugin repaint.py": "needs weights; tests of the example run it with tiny ones",
}
"""Beginnings of commands that are only checked for their flags (tests/test_docs.py), and why."""
FILES = (
    "MimicMotion_1-1.pth", "BiRefNet-portrait.onnx", "yolox_l.onnx", "mine.onnx", "dw-ll_ucoco_384.onnx", "SMPLX_NEUTRAL.npz",
)  # fmt: skip
FOLDERS = (
    "pretrained_weights/liveportrait", "stable-video-diffusion-img2vid-xt-1-1", "Portrait-4D", "Wan2.2-Animate-14B-Diffusers",
)  # fmt: skip


def load_world() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_world", Path(__file__).with_name("docs_world.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_world"] = module
    spec.loader.exec_module(module)
    return module


WORLD = load_world()
add_commands(Registry.load(environ={}), app)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder with all that readers have, entered, with the stand-ins as the only plugin."""
    folder = tmp_path_factory.mktemp("world")
    info = folder / "site" / "world-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: world\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[avatarkit]\nworld = docs_world\n")
    image = (tiny_subject().photo.image * 255).round().numpy().astype(np.uint8)
    for name in ("ada.jpg", "photo.jpg", "me.jpg"):
        Image.fromarray(image).save(folder / name, quality=98)
    (folder / "clips").mkdir()
    for name in ("me.mp4", "clips/ada.mp4"):
        write_clip(folder / name, image)
    with wave.open(str(folder / "hello.wav"), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes((np.sin(np.arange(8000) / 20) * 9000).astype("<i2").tobytes())
    (folder / "hello.srt").write_text("1\n00:00:00,100 --> 00:00:00,400\nHello, and welcome.\n")
    (folder / "agreement.pdf").write_bytes(b"signed")
    (folder / "consent.toml").write_text(
        'person = "Ada Lovelace"\nscope = ["private", "voice", "commercial"]\nuntil = 2099-12-31\nevidence = "agreement.pdf"\n'
    )
    (folder / "mine.toml").write_text('preset = "draft"\n[training]\nsteps = 400\n')
    (folder / "open.toml").write_text('preset = "draft"\n[body_labels]\nuse = "wan"\n[head_labels]\nuse = "liveportrait"\n')
    for file in FILES:
        (folder / file).write_bytes(b"weights")
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes(b"weights")
    for example in (ROOT / "docs" / "examples").glob("*.py"):
        shutil.copy(example, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder / "site"))
        patch.chdir(folder)
        patch.setenv("AVATARKIT_PLUGINS", "world,provenance")
        patch.setenv("AVATARKIT_CACHE", str(folder / "cache"))
        patch.setattr(Recipe, "section", WORLD.small_section)
        patch.setattr(avatarkit.io.photo, "sample_photo", lambda name: folder / "ada.jpg")
        needed = avatarkit.pipeline.plan.requirements
        # stand-ins need no weights, wherever the options of the real ones look for them
        patch.setattr(avatarkit.pipeline.plan, "requirements", lambda *a, **k: [r for r in needed(*a, **k) if r.kind != "setup"])
        made = CliRunner().invoke(app, ["build", "ada.jpg", "--preset", "draft"])
        assert made.exit_code == 0, made.output
        yield folder
    for name in ("docs_world", *(p.stem for p in (ROOT / "docs" / "examples").glob("*.py"))):
        sys.modules.pop(name, None)


def write_clip(path: Path, image: np.ndarray) -> None:
    """A second of a person who stands still."""
    import av

    with av.open(str(path), "w") as film:
        stream = film.add_stream("mpeg4", rate=5)
        stream.width, stream.height = image.shape[1], image.shape[0]
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        film.mux(stream.encode())


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if WORLD.commands(p)], ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_commands_of_a_page_work(page: Path, world: Path) -> None:
    for line in WORLD.commands(page):
        if any(line.startswith(start) for start in NOT_RUN):
            continue
        words = shlex.split(line)[1:]
        if words[0] == "talk" and shutil.which("espeak-ng") is None:
            continue  # says how to install it
        new = words[:2] == ["plugins", "new"]
        if new:
            shutil.rmtree(f"avatarkit-{words[2]}", ignore_errors=True)
        # The stand-ins have the names that pages give to new components.
        result = CliRunner().invoke(app, words, env={"AVATARKIT_PLUGINS": "" if new else "world,provenance"})
        assert result.exit_code == 0, (
            f"{page.relative_to(ROOT)} shows `{line}`, which ends with exit code {result.exit_code}:\n{result.output[-1500:]}\n"
            "A file that readers have at this point belongs into the fixture `world` of tests/test_docs_commands.py; a command "
            "that cannot run here, with the reason, into NOT_RUN."
        )
