"""What the documentation shows works, and what is there is documented."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from avatarkit import hookspecs
from avatarkit.interfaces import Context
from avatarkit.registry import KINDS, Registry
from avatarkit_cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted(
    {line.strip() for page in PAGES for line in re.findall(r"^(?:.*&& | +)?(avatarkit \w.*)$", page.read_text(), re.M)}
)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_shown_exists_with_its_flags(line: str) -> None:
    words = line.removeprefix("avatarkit ").split()
    if words[0] in ("plugins", "motions", "weights") and len(words) > 1:
        command, rest = words[:2], words[2:]
    else:
        command, rest = words[:1], words[1:]
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0, line
    flags = re.findall(r"(?<![\w-])--?[a-z][\w-]*", result.stdout)
    for word in rest:
        if re.fullmatch(r"--?[a-z][\w-]*", word):
            assert word in flags, f"{word} in: {line}"


def test_the_pages_show_commands() -> None:
    assert len(COMMANDS) >= 8


def test_the_example_plugin_works() -> None:
    registry = Registry.load([ROOT / "docs" / "examples" / "no_glare.py"], environ={"AVATARKIT_PLUGINS": ""})
    loss = registry.get("loss", "no-glare").create({"limit": 0.5}, Context())
    colors = torch.tensor([[0.4, 0.45, 0.8]], requires_grad=True)
    value = loss(SimpleNamespace(posed=SimpleNamespace(gaussians=SimpleNamespace(colors=colors))))
    value.backward()
    assert float(value.detach()) == pytest.approx(0.1)
    assert colors.grad is not None
    assert (colors.grad != 0).tolist() == [[False, False, True]]
    del sys.modules["no_glare"]


def test_every_kind_of_component_has_its_hook_on_the_page() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    specs = {name for name, f in inspect.getmembers(hookspecs, inspect.isfunction) if hasattr(f, "avatarkit_spec")}
    assert set(KINDS.values()) <= specs
    assert "{{ hooks }}" in page
    for hook in KINDS.values():
        assert f"| `{hook}` |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target
