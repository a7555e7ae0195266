"""The command line: exit codes, JSON, messages."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

import avatarkit
from avatarkit import __main__ as command_of_package
from avatarkit.errors import ConfigError, InputError, StageError
from avatarkit.storage.bundle import write_bundle
from avatarkit.utils.progress import Progress, SilentProgress
from avatarkit_cli.main import _COMMANDS, app
from avatarkit_cli.page_server import PageServer, open_server
from avatarkit_cli.plugin_commands import OWN_COMMANDS
from avatarkit_cli.progress import BarProgress, LineProgress, make_progress
from avatarkit_cli.shared import parse_size

TENSORS = {"box": torch.tensor([0.0, 0.0, 1.0, 1.0])}


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def run_fresh(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "avatarkit_cli.main", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environ},
    )  # fmt: skip


def test_help_is_quick() -> None:
    """Six imports of Typer at most, about 0.4 s; it takes three, and torch alone takes twenty."""

    def seconds(*command: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, *command], stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    runs = [(seconds("-m", "avatarkit_cli.main", "--help"), seconds("-c", "import typer")) for _ in range(5)]
    ours, typers = (min(times) for times in zip(*runs, strict=True))
    assert ours < 6 * typers


def test_no_arguments_show_help() -> None:
    result = run()
    assert result.exit_code == 0
    for command in ("build", "animate", "render", "export", "track", "info", "doctor", "motions", "plugins", "weights"):
        assert f"  {command} " in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        "build",
        "animate",
        "render",
        "export",
        "view",
        "studio",
        "track",
        "evaluate",
        "info",
        "doctor",
        "motions",
        "plugins",
        "weights",
        "plugins show",
    ],
)
def test_every_command_has_help(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_build_has_all_flags_of_the_contract() -> None:
    text = run("build", "--help").stdout
    for flag in (
        "--output", "--preset", "--recipe", "--matting", "--keypoints", "--tracker", "--body", "--motions",
        "--body-labels", "--head-labels", "--avatar", "--perceptual", "--renderer", "--set", "--device", "--seed",
        "--from", "--fresh", "--dry-run", "--consent", "--json", "--sample", "--person", "--keep-photo", "--plugin",
    ):  # fmt: skip
        assert flag in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["build"], "Name one photo, for example"),
        (["build", "a.jpg", "--sample", "portrait"], "Name one photo, for example"),
        (["build", "--sample", "portrit"], "no sample 'portrit'. Did you mean 'portrait'?"),
        (["build", "a.jpg", "--preset", "drft"], "no preset 'drft'. Did you mean 'draft'?"),
        (["build", "no/such.jpg", "--preset", "draft"], "There is no photo no/such.jpg."),
        (["build", "a.jpg", "--recipe", "no.toml"], "There is no recipe no.toml; check its name and folder"),
        (["build", "a.jpg", "--preset", "draft", "--set", "x"], "not of the form slot.option=value"),
        (["build", "a.jpg", "--preset", "draft", "--device", "gpu"], "There is no device 'gpu'"),
        (["info", "nothing.avatar"], "There is no avatar nothing.avatar."),
        (["animate", "nothing.avatar", "-o", "x.mp4"], "There is no avatar nothing.avatar."),
        (["animate", "nothing.avatar", "-o", "x.mp4", "--size", "huge"], "--size 'huge' is not of the form"),
        (
            ["animate", "x", "-o", "x.mp4", "--motion", "talk", "--video", "y.mp4"],
            "only one of --motion, --video and --audio",
        ),
        (["animate", "x", "-o", "x.mp4", "--up", "z"], "--up and --joint-map are for motion files"),
        (["animate", "x", "-o", "x.mp4", "--keep-pose", "arms"], "--keep-pose 'arms' is unknown: use legs, trunk or none."),
        (["motions", "show", "talk", "--up", "z"], "'talk' is a built-in motion"),
        (["motions", "show", "talk", "-o", "talk.jpg"], "'talk.jpg' must end in .png."),
        (["render", "nothing.avatar", "-o", "x.png"], "There is no avatar nothing.avatar."),
        (["render", "nothing.avatar", "-o", "x.jpg"], "Pictures are written as PNG"),
        (["export", "nothing.avatar", "--to", "ply", "-o", "x.ply"], "There is no avatar nothing.avatar."),
        (["export", "nothing.avatar", "--to", "plyy", "-o", "x"], "of the kind exporter. Did you mean 'ply'?"),
        (["export", "x", "--to", "spz", "-o", "x.spz", "--set", "x=1"], "exporter 'spz' has no options"),
        (["export", "x", "--to", "spz", "-o", "x.spz", "--sh-degree", "0"], "exporter 'spz' has no options"),
        (["export", "x", "--to", "ply", "-o", "x.ply", "--set", "x"], "not of the form OPTION=VALUE"),
        (["export", "nothing.avatar", "--to", "web", "-o", "page"], "There is no avatar nothing.avatar."),
        (["view", "nothing.avatar", "--port", "0"], "There is no avatar nothing.avatar."),
        (["plugins", "show", "gsplat"], "renderer 'gsplat' is not installed."),
        (["plugins", "show", "coupled"], "no component 'coupled'. Did you mean 'coupled-gs'?"),
        (["plugins", "show", "avatar/coupled"], "no component 'coupled' of the kind avatar."),
        (["evaluate", "nothing.mp4"], "There is no clip or folder nothing.mp4."),
        (["evaluate", "."], "contains no clips"),
        (["weights", "where", "vgg"], "needs weights 'vgg'."),
        (["plugins", "list", "--plugin", "no.py"], "must be an existing Python file"),
    ],
)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


def test_an_unknown_command_or_flag_is_exit_code_2() -> None:
    assert run("bild").exit_code == 2
    assert run("build", "--color").exit_code == 2


def test_the_package_runs_as_the_command() -> None:
    def as_module(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "avatarkit", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert as_module("--version").stdout == f"avatarkit {avatarkit.__version__}\n"
    assert as_module("plugins", "--help").stdout.startswith("Usage: python -m avatarkit plugins ")
    wrong = as_module("info", "nothing.avatar")
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize("points", ["", "[console_scripts]\navatarkit = avatarkit_commands_that_are_gone.main:main\n"])
def test_the_package_without_a_command_line_says_so(
    points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "avatarkit_oneshot-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: avatarkit-oneshot\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(SystemExit) as exited:
        command_of_package.main()
    assert exited.value.code == 2
    message = "avatarkit: the command line is not installed: pip install --force-reinstall avatarkit-oneshot\n"
    assert capsys.readouterr().err == message


COMMAND = "import sys; sys.argv[0] = 'avatarkit'; from avatarkit_cli.entry import main; main()"


@pytest.mark.parametrize(
    ("shell", "line", "environ", "shown"),
    [
        ("bash", "avatarkit pl", {"COMP_WORDS": "avatarkit pl", "COMP_CWORD": "1"}, ["plugins"]),
        ("bash", "", {"COMP_WORDS": "avatarkit build --dry", "COMP_CWORD": "2"}, ["--dry-run"]),
        ("zsh", "avatarkit plugins ne", {}, ['"new":"Create a plugin']),
        ("fish", "avatarkit plugins ne", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"}, ["new\tCreate a plugin"]),
        ("powershell", "avatarkit weights ", {}, ["add:::", "fetch:::"]),
    ],
)
def test_shells_complete_commands(shell: str, line: str, environ: dict[str, str], shown: list[str]) -> None:
    asked = {"_AVATARKIT_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": line, **environ}
    asked["_TYPER_COMPLETE_WORD_TO_COMPLETE"] = line.rpartition(" ")[2]
    command = [sys.executable, "-c", COMMAND]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **asked})
    for text in shown:
        assert text in result.stdout
    script = run("--show-completion", shell)
    assert script.exit_code == 0
    assert "_AVATARKIT_COMPLETE" in script.stdout
    assert f"complete_{shell}" in script.stdout


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("bash"), reason="needs bash")
def test_bash_completes_a_line_with_the_script_that_is_shown(tmp_path: Path) -> None:
    command = tmp_path / "avatarkit"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(COMMAND)} "$@"\n')
    command.chmod(0o755)
    script = """
        eval "$(avatarkit --show-completion bash)"
        complete -p avatarkit
        COMP_WORDS=(avatarkit plugins c) COMP_CWORD=2
        _avatarkit_completion avatarkit
        echo "${COMPREPLY[@]}"
    """
    environ = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=environ)
    assert result.stdout.splitlines() == ["complete -o default -F _avatarkit_completion avatarkit", "check"]


def test_a_shell_that_cannot_complete_is_one_sentence() -> None:
    result = run("--show-completion", "tcsh")
    assert result.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish', 'powershell'" in result.stderr


@pytest.mark.parametrize(
    ("error", "code", "texts"),
    [
        (ConfigError("mend me"), 2, ["avatarkit: mend me"]),
        (StageError("stage broke"), 1, ["Traceback", "avatarkit: stage broke", "Please report"]),
        (RuntimeError("a bug"), 1, ["Traceback", "RuntimeError: a bug", "Please report"]),
        (KeyboardInterrupt(), 130, ["interrupted"]),
    ],
)
def test_exit_codes(error: BaseException, code: int, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import avatarkit.storage.bundle

    def fails(path: Path) -> None:
        raise error

    monkeypatch.setattr(avatarkit.storage.bundle, "read_manifest", fails)
    result = run("info", "x.avatar")
    assert result.exit_code == code
    for text in texts:
        assert text in result.stderr
    assert ("Traceback" in result.stderr) == (code == 1)


def test_a_real_interrupt_is_130(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text("import time\nprint('waiting', flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "avatarkit_cli.main", "plugins", "list", "--plugin", str(tmp_path / "waits.py")]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it, and their children too
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(signal.SIGINT, before)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(2)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "interrupted" in errors


def test_plugins_list_as_json_and_as_a_table_of_80_columns() -> None:
    result = run_fresh("plugins", "list", "--json")
    data = json.loads(result.stdout)
    assert result.returncode == 0
    assert {"plugins", "components", "commands", "problems"} == set(data)
    assert {"avatar", "loss"} <= {c["kind"] for c in data["components"]}
    table = run_fresh("plugins").stdout
    assert "coupled-gs" in table
    assert max(len(line) for line in table.splitlines()) <= 80


def test_a_broken_third_party_plugin_breaks_no_command(tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[avatarkit]\nbroken = broken_module\n")
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('boom')\n")
    environ = {"PYTHONPATH": str(tmp_path)}
    listed = run_fresh("plugins", "list", **environ)
    assert listed.returncode == 0
    assert "coupled-gs" in listed.stdout
    assert "Problem with plugin 'broken'" in listed.stdout
    assert "RuntimeError: boom" in listed.stdout
    whole, with_broken = run_fresh("doctor", "--json"), run_fresh("doctor", "--json", **environ)
    assert with_broken.returncode == whole.returncode
    checks = {c["name"]: c for c in json.loads(with_broken.stdout)["checks"]}
    assert "RuntimeError: boom" in checks["plugin 'broken'"]["detail"]
    strict = run_fresh("plugins", "list", AVATARKIT_STRICT="1", **environ)
    assert strict.returncode == 2
    assert "Plugin 'broken'" in strict.stderr


def test_no_plugin_can_take_the_name_of_a_command() -> None:
    assert set(_COMMANDS) == set(OWN_COMMANDS)


def test_plugins_may_add_commands(tmp_path: Path) -> None:
    info = tmp_path / "extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[avatarkit]\nextra = extra_module\n")
    source = """
        from avatarkit.hookspecs import hookimpl
        @hookimpl
        def register_commands(cli):
            @cli.command("greet")
            def greet() -> None:
                print("hello")
    """
    (tmp_path / "extra_module.py").write_text(textwrap.dedent(source))
    result = run_fresh("greet", PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout) == (0, "hello\n")


def test_plugins_show_explains_the_options() -> None:
    result = run("plugins", "show", "coupled-gs")
    assert result.exit_code == 0
    assert "resolution" in result.stdout
    data = json.loads(run("plugins", "show", "avatar/coupled-gs", "--json").stdout)
    (component,) = data["components"]
    assert component["license"]["code"] == "Apache-2.0"
    assert {"name", "type", "default", "help"} == set(component["options"][0])


def test_doctor_names_what_is_there() -> None:
    data = json.loads(run("doctor", "--json").stdout)
    checks = {c["name"]: c for c in data["checks"]}
    assert checks["python"]["state"] == "ready"
    assert checks["torch"]["detail"] == version("torch")  # torch itself adds how it was built
    assert checks["avatar 'coupled-gs'"]["state"] == "ready"
    for check in data["checks"]:
        assert (check["state"] == "ready") == (check["remedy"] == "")


def test_doctor_finds_a_cache_that_may_not_be_written() -> None:
    data = json.loads(run_fresh("doctor", "--json", AVATARKIT_CACHE="/proc/no").stdout)
    (check,) = [c for c in data["checks"] if c["name"] == "cache folder"]
    assert check["state"] == "broken"
    assert "AVATARKIT_CACHE" in check["remedy"]
    assert data["ready"] is False


def test_info_shows_the_manifest(tmp_path: Path) -> None:
    manifest = {
        "avatarkit": "0.1.0", "device": "cpu", "seed": 3, "recipe": {"name": "draft"}, "consent": "Ada agreed.",
        "components": {"body": {"name": "anny", "version": "0.1.0"}}, "warnings": ["The legs were not seen."],
        "licenses": {"anny": {"code": "Apache-2.0", "weights": "CC0"}}, "metrics": {"psnr": 28.123},
        "stages": {"tracking": {"seconds": 3.21, "peak_memory_mb": 512.0}},
    }  # fmt: skip
    path = write_bundle(tmp_path / "ada.avatar", TENSORS, manifest)
    text = run("info", str(path)).stdout
    for part in ("recipe draft", "Ada agreed.", "The legs were not seen.", "Apache-2.0; CC0", "3.2", "512 MB", "28.12"):
        assert part in text
    assert json.loads(run("info", str(path), "--json").stdout)["seed"] == 3


def test_weights_are_added_as_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "vgg16-397923af.pth"
    file.write_bytes(b"weights")
    assert run("weights", "where", "vgg16").exit_code == 2
    assert run("weights", "add", "vgg16", str(file)).exit_code == 0
    assert run("weights", "add", "vgg16", str(file)).exit_code == 0
    where = run("weights", "where", "vgg16").stdout.strip()
    assert Path(where).read_bytes() == b"weights"
    (entry,) = [w for w in json.loads(run("weights", "list", "--json").stdout)["weights"] if w["name"] == "vgg16"]
    assert entry["path"] == where
    assert run("weights", "add", "vgg16", str(tmp_path / "none")).exit_code == 2


@pytest.mark.parametrize("text", ["", "512", "x", "512x", "axb", "8x8", "99999x10", "-5x5"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        parse_size(text)


def test_sizes() -> None:
    assert parse_size("512x768") == (512, 768)
    assert parse_size(None) is None


def test_progress_without_a_terminal_is_one_line_per_stage(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:
        progress = make_progress(stream)
        assert isinstance(progress, LineProgress)
        with progress:
            for name in ("tracking", "labels", "labels", "avatar"):
                with progress.stage(name):
                    progress.update("something", 0.5)
        stream.seek(0)
        lines = stream.read().splitlines()
    assert [line.split(" ... ")[0] for line in lines] == ["tracking", "labels", "avatar"]
    assert all(line.endswith(" s") for line in lines)


def test_progress_that_is_stopped_says_so(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w+") as stream:

        def work() -> None:
            with LineProgress(stream) as progress, progress.stage("avatar"):
                raise RuntimeError

        with pytest.raises(RuntimeError):
            work()
        stream.seek(0)
        assert stream.read().endswith("s (stopped)\n")


def test_progress_on_a_terminal_draws_bars() -> None:
    progress = BarProgress()
    assert isinstance(progress, Progress)
    assert isinstance(SilentProgress(), Progress)
    with progress:
        with progress.stage("tracking"):
            progress.update("finding", 0.25)
            progress.update("fitting")
            (task,) = progress._bars.tasks
            assert (task.fields["stage"], task.description, task.completed) == ("tracking", "fitting", 0.25)
        with progress.stage("avatar"):
            progress.update("step 1", 2.0)
    assert [t.completed for t in progress._bars.tasks] == [1.0, 1.0]


def test_main_is_the_installed_command() -> None:
    started = time.perf_counter()
    result = run_fresh("--version")
    assert result.stdout.startswith("avatarkit 0.")
    assert time.perf_counter() - started < 20
    assert isinstance(app, typer.Typer)


def test_the_viewer_serves_one_page_to_this_machine_only() -> None:
    server = open_server(0, PageServer)
    server.page = b"<title>Ada</title>"
    with server.running():
        assert server.server_address[0] == "127.0.0.1"
        with pytest.raises(InputError, match=f"Port {server.server_port} is in use .* --port {server.server_port + 1}"):
            open_server(server.server_port, PageServer)

        def status(path: str, **headers: str) -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request("GET", path, headers=headers)
            with closing(connection), connection.getresponse() as answer:
                return answer.status, answer.read()

        assert status("/") == (200, server.page)
        assert status("/?x=1") == (200, server.page)
        assert status("/etc/passwd")[0] == 404
        assert status("/", Host="ada.example:80")[0] == 403
