"""What strangers need to join: pages that are true, checks that run everywhere, promises that the code keeps."""

from __future__ import annotations

import ast
import itertools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import avatarkit

ROOT = Path(__file__).parent.parent
SOURCES = sorted(
    path
    for folder in (ROOT / "avatarkit", ROOT / "cli" / "avatarkit_cli", *ROOT.glob("plugins/*/avatarkit_*"))
    for path in folder.rglob("*.py")
)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def plain(name: str) -> Any:
    return yaml.safe_load(text(name))


def project() -> dict[str, Any]:
    return tomllib.loads(text("pyproject.toml"))["project"]


# ------------------------------------------------------------------------------------------------------------ citation


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = plain("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(citation)
    assert citation["version"] == avatarkit.__version__
    assert citation["license"] == project()["license"]
    assert citation["repository-code"] == project()["urls"]["Homepage"]
    (paper,) = citation["references"]
    assert paper["title"] == "One Shot, One Talk: Whole-body Talking Avatar from a Single Image"
    people = [f"{author['given-names']} {author['family-names']}" for author in paper["authors"]]
    assert people == ["Jun Xiang", "Yudong Guo", "Leipeng Hu", "Boyang Guo", "Yancheng Yuan", "Juyong Zhang"]
    assert paper["doi"] == "10.48550/arXiv.2412.01106"
    assert paper["url"].endswith("/2412.01106")
    assert paper["year"] == 2024


# ----------------------------------------------------------------------------------------------------------- changelog


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    page = text("CHANGELOG.md")
    headings = re.findall(r"^## (.*)$", page, re.M)
    assert headings[0] == "[Unreleased]"
    versions = []
    for heading in headings[1:]:
        match = re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d", heading)
        assert match, f"CHANGELOG.md: {heading!r} is not of the form [1.2.3] - 2030-01-31"
        versions.append(Version(match[1]))
    assert versions == sorted(versions, reverse=True)
    assert all(version <= Version(avatarkit.__version__) for version in versions)
    assert set(re.findall(r"^### (.*)$", page, re.M)) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


# ---------------------------------------------------------------------------------------------------------------- checks


def test_the_workflow_runs_the_same_checks_on_every_system_and_python() -> None:
    workflow = plain(".github/workflows/test.yml")
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == "${{ matrix.os }}"
    systems = [name.partition("-")[0] for name in job["strategy"]["matrix"]["os"]]
    assert systems == ["ubuntu", "macos", "windows"]
    pythons = job["strategy"]["matrix"]["python"]
    assert pythons == [c.rpartition(" ")[2] for c in project()["classifiers"] if re.search(r"Python :: 3\.\d", c)]
    (checks,) = [step for step in job["steps"] if "run" in step]
    assert checks["run"] == ".ci/run"
    assert checks["shell"] == "bash"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda p: p.name)
def test_forms_are_complete(file: Path) -> None:
    form = yaml.safe_load(file.read_text(encoding="utf-8"))
    if file.parent.name != "ISSUE_TEMPLATE" or file.name == "config.yml":
        assert isinstance(form, dict)
        return
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert any(part.get("validations", {}).get("required") for part in fields)
    assert len({part["id"] for part in fields}) == len(fields)
    assert all(part["attributes"]["label"] for part in fields)


def test_hooks_before_commits_are_pinned_and_fit_the_tools_of_the_project() -> None:
    repositories = plain(".pre-commit-config.yaml")["repos"]
    ruff = next(r for r in repositories if r["repo"].endswith("/ruff-pre-commit"))
    assert [hook["id"] for hook in ruff["hooks"]] == ["ruff-check", "ruff-format"]
    wanted = next(r for r in map(Requirement, project()["optional-dependencies"]["dev"]) if r.name == "ruff")
    assert ruff["rev"].removeprefix("v") in wanted.specifier
    for repository in repositories:
        assert repository["repo"] == "local" or re.fullmatch(r"v\d+\.\d+\.\d+", repository["rev"])


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("bash"), reason="needs bash")
def test_the_checks_say_which_step_failed(tmp_path: Path) -> None:
    """With an interpreter that fails, with an environment whose mypy fails, and with one whose ruff fails while mypy runs."""
    fake = tmp_path / "python"
    fake.write_text(
        "#!/bin/bash\n"
        '[ "$MODE" = broken ] && exit 3\n'
        'if [ "$2" = venv ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"\n'
        '    for name in lint-imports mkdocs; do printf "#!/bin/bash\\n" > "$3/bin/$name"; done\n'
        '    printf "#!/bin/bash\\n[ $MODE != ruff ] || exit 5\\n" > "$3/bin/ruff"\n'
        '    printf "#!/bin/bash\\n[ $MODE != ruff ] || sleep 600\\necho 3 errors\\nexit 7\\n" > "$3/bin/mypy"\n'
        '    chmod +x "$3/bin/"*; fi\n'
    )
    fake.chmod(0o755)

    def checks(mode: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PYTHON": str(fake), "MODE": mode, "TMPDIR": str(tmp_path), "CI": ""}
        command = ["bash", str(ROOT / ".ci" / "run")]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, timeout=300)

    first, later, beside = checks("broken"), checks("mypy"), checks("ruff")
    assert first.returncode == 3
    assert "FAILED with exit code 3" in first.stderr
    assert "in the step: install into a fresh environment" in first.stderr
    assert later.returncode == 7
    assert re.search(r"== mypy \(\d+ s\)\n3 errors\n$", later.stdout), "what runs beside other steps is shown by itself"
    assert "in the step: mypy" in later.stderr
    assert re.search(r"\.ci/run, line \d+: mypy", later.stderr)
    assert beside.returncode == 5, "it waits for mypy"
    assert "in the step: ruff" in beside.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["python"], "the temporary folder is left"


# --------------------------------------------------------------------------------------------- promises of SECURITY.md

NETWORK = {
    "aiohttp", "asyncio", "ftplib", "http", "httpx", "huggingface_hub", "requests", "smtplib", "socket", "socketserver", "ssl",
    "telnetlib", "urllib.request", "urllib3", "webbrowser", "websockets", "xmlrpc",
}  # fmt: skip
MAY_USE_THE_NETWORK = {
    "avatarkit_cli web.py": "weights fetch",
    "avatarkit_cli page_server.py": "view and studio listen on the loopback interface, and open the browser if asked to",
    "avatarkit_cli server.py": "what studio answers there",
}
MAY_RUN_CODE = {
    "avatarkit loading.py": "imports the file of --plugin",
    "avatarkit_cli processes.py": "starts this program once for each photo of a batch, and for each task of the studio",
    "avatarkit_cli plugins.py": "runs pip on what the user named and confirmed",
    "avatarkit_portrait4d process.py": "runs the user's own checkout",
    "avatarkit_speech espeak.py": "runs the eSpeak NG of this machine with the text on its standard input",
}


def label(path: Path) -> str:
    """The package and the file of a source."""
    parts = path.relative_to(ROOT).parts
    return f"{next(part for part in reversed(parts) if re.fullmatch(r'avatarkit(_[a-z0-9_]+)?', part))} {path.name}"


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, Any]]]:
    """Dotted name of what is called, and its keyword arguments; those that are not constants are None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield (
                ast.unparse(node.func),
                {k.arg: k.value.value if isinstance(k.value, ast.Constant) else None for k in node.keywords if k.arg},
            )


def test_only_fetching_weights_uses_the_network() -> None:
    assert len(SOURCES) > 150
    for path in SOURCES:
        name = label(path)
        found = {
            module
            for module, network in itertools.product(imports(ast.parse(path.read_text(encoding="utf-8"))), NETWORK)
            if module == network or module.startswith(f"{network}.")
        }
        assert bool(found) == (name in MAY_USE_THE_NETWORK), f"{name} imports {sorted(found)}: SECURITY.md promises otherwise"


def test_nothing_runs_what_a_file_holds() -> None:
    for path in SOURCES:
        name = label(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        running = False
        for called, arguments in calls(tree):
            where = f"{name}: {called}"
            assert called not in ("eval", "exec", "compile", "__import__"), where
            assert not re.fullmatch(r"(pickle|marshal|shelve|dill|joblib)\.(load|loads|open|Unpickler)", called), where
            assert not re.fullmatch(r"yaml\.(load|unsafe_load|full_load)", called), where
            if called == "torch.load":
                assert arguments.get("weights_only") is True, f"{where} without weights_only=True"
            for dangerous in ("allow_pickle", "trust_remote_code", *(["shell"] if called.startswith("subprocess.") else [])):
                assert arguments.get(dangerous, False) is False, f"{where} with {dangerous}"
            running |= bool(re.search(r"\.exec_module$|^subprocess\.\w+$|^os\.(system|popen|exec\w+|spawn\w+)$", called))
        assert running == (name in MAY_RUN_CODE), f"{name} and the list of what may run code do not agree"


def test_the_viewer_listens_to_this_machine_only() -> None:
    from avatarkit_cli.page_server import PageServer, open_server

    server = open_server(0, PageServer)
    try:
        assert server.server_address[0] == "127.0.0.1"
    finally:
        server.server_close()
    assert "127.0.0.1" in text("SECURITY.md")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CODE_OF_CONDUCT.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_the_pages_at_the_root_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text(name)):
        assert (ROOT / target).exists(), f"{name} links to {target}, which is not there"


def test_the_readme_leads_to_what_contributors_need() -> None:
    page = text("README.md")
    for name in ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md", "CITATION.cff"):
        assert f"]({name})" in page
