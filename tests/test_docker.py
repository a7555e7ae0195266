"""The Dockerfile copies what is there, its images have one shape, and the documentation shows how to run them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "elsewhere.md").read_text(encoding="utf-8")


def stages() -> dict[str, list[tuple[str, str]]]:
    """Return name of a stage -> its instructions and their words, in order; ``""`` holds what is before the first."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.M)
    found: dict[str, list[tuple[str, str]]] = {"": []}
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        instruction, _, words = line.strip().partition(" ")
        if instruction == "FROM":
            found[words.split()[-1]] = []
        if instruction:
            found[[*found][-1]].append((instruction, words))
    return found


def words(stage: str, instruction: str) -> list[str]:
    return [text for name, text in stages()[stage] if name == instruction]


def sent(path: str) -> bool:
    """Return whether .dockerignore sends a path to the builder; the last pattern that fits decides."""
    verdict = True
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = path.split("/")
        prefixes = ["/".join(parts[: i + 1]) for i in range(len(parts))]
        if any(fnmatch(p, pattern) for p in (*prefixes, *(parts if "**/" in line else ()))):
            verdict = line.startswith("!")
    return verdict


def test_the_default_image_is_the_one_without_cuda() -> None:
    assert [*stages()] == ["", "wheel", "cuda", "cpu"]


def test_everything_that_the_wheel_is_made_of_is_sent_and_copied() -> None:
    copied = {name for text in words("wheel", "COPY") for name in text.split()[:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = [*packages, "pyproject.toml", project["project"]["readme"], *project["project"]["license-files"]]
    for name in needed:
        assert (ROOT / name).exists()
        assert name.split("/")[0] in copied, f"the stage wheel does not copy {name}"
        assert sent(name), f".dockerignore leaves out {name}"
    assert all((ROOT / name).exists() for name in copied)
    for name in (".git/config", "plugins/avatarkit-cpu/tests/test_a.py", "portrait.avatar/manifest.json", "photo.jpg"):
        assert not sent(name), f".dockerignore sends {name}"


@pytest.mark.parametrize("stage", ["cuda", "cpu"])
def test_an_image_runs_the_command_as_a_plain_user_and_keeps_what_it_makes(stage: str) -> None:
    order = [name for name, _ in stages()[stage]]
    assert int(words(stage, "USER")[0]) >= 1000
    assert order.index("USER") < order.index("VOLUME") < order.index("ENTRYPOINT")
    assert json.loads(words(stage, "ENTRYPOINT")[0]) == ["avatarkit"]
    assert json.loads(words(stage, "HEALTHCHECK")[0].partition("CMD ")[2]) == ["avatarkit", "doctor"]
    volumes = json.loads(words(stage, "VOLUME")[0])
    assert f"AVATARKIT_CACHE={volumes[0]}" in " ".join(words(stage, "ENV"))
    assert words(stage, "WORKDIR") == [volumes[1]]
    made = next(text for text in words(stage, "RUN") if "useradd" in text).split()
    assert made[-2:] == volumes
    for volume in volumes:
        assert f":{volume}" in PAGE, f"docs/elsewhere.md does not say what {volume} is for"


def test_the_extras_of_the_cuda_image_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    installed = re.findall(r"\[([\w,-]+)\]\"", " ".join(words("cuda", "RUN")))
    assert set(installed[0].split(",")) <= set(extras)


def test_python_is_one_that_avatarkit_runs_on() -> None:
    version = next(text for text in words("", "ARG") if text.startswith("PYTHON=")).partition("=")[2]
    assert (3, 11) <= tuple(map(int, version.split("."))) < (3, 15)


def test_the_page_builds_and_runs_images_that_exist() -> None:
    lines = [shlex.split(line) for line in re.findall(r"^docker .*$", PAGE, re.M)]
    builds, runs = ([line for line in lines if line[1] == verb] for verb in ("build", "run"))
    assert {line[line.index("--target") + 1] for line in builds if "--target" in line} == {"cuda"}
    tags = {line[line.index("-t") + 1] for line in builds}
    for line in runs:
        image = next(word for word in line if word in tags)
        assert line[line.index(image) + 1] in ("build", "animate", "doctor", "studio")
        if "studio" in line:  # it listens on 127.0.0.1 only
            assert "--network=host" in line


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_the_linter_is_content() -> None:
    done = subprocess.run(["hadolint", "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
