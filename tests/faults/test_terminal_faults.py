"""Terminals: text of strangers, encodings, streams that are closed or full, and signals at any moment."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from avatarkit.errors import ConfigError, StageError
from avatarkit.storage.bundle import write_bundle
from avatarkit.storage.stage_cache import load_tensors, save_tensors
from avatarkit.utils.files import check_output
from avatarkit.utils.paths import cache_folder
from avatarkit.utils.text import escaped, json_safe, one_line, printable
from avatarkit_cli.main import app
from avatarkit_cli.progress import BarProgress
from avatarkit_cli.shared import find_pose, parse_options, table, verbose

HOSTILE = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202egpj.exe\u2066 \u200b\u2028\x7f\x00[bold][/]\r"
OBEYED = set(HOSTILE) - set(" ;[]/.0123456789mabcdefghijklmnopqrstuvwxyzJ")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full and names that are not UTF-8")
posix = pytest.mark.skipif(os.name == "nt", reason="needs signals of POSIX")


def start(*arguments: str, before: str = "", **options: Any) -> subprocess.Popen[str]:
    """The installed command, in a process of its own; ``before`` is Python that runs first."""
    code = f"import sys\n{before}\nfrom avatarkit_cli.entry import main\nsys.argv[0] = 'avatarkit'\nsys.exit(main())"
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    usual = {s: signal.signal(s, signal.SIG_DFL) for s in (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] * (os.name != "nt")))}
    try:
        return subprocess.Popen([sys.executable, "-c", code, *arguments], **options)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def run(*arguments: str, **options: Any) -> tuple[int, str, str]:
    process = start(*arguments, **options)
    output, errors = process.communicate(timeout=120)
    return process.returncode, output or "", errors or ""


def shown(text: str) -> bool:
    """Whether nothing in it is obeyed by a terminal."""
    return not set(text) & OBEYED


# ----------------------------------------------------------------------------------------------------------------- text


def test_printable_text_shows_what_a_terminal_would_obey() -> None:
    assert printable("Zoë 王\tλ\n👩‍👩‍👧 ok") == "Zoë 王\tλ\n👩‍👩‍👧 ok"
    assert printable("a\x1b[31mb\u202ec\udc80d\r\ne") == "a\\x1b[31mb\\u202ec\\udc80d\ne"
    assert one_line("a\nb\tc\x85") == "a b c\\x85"
    assert printable("pa\u200dypal") == "pa\\u200dypal"  # a joiner that joins nothing
    assert escaped('<a href="x">\'\u202e') == "&lt;a href=&quot;x&quot;&gt;&#x27;\\u202e"


@given(st.text(alphabet=st.characters(), max_size=40))
def test_printable_text_is_printable_and_json_stays_what_it_is(text: str) -> None:
    made = printable(text)
    assert printable(made) == made
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 for c in made)
    made.encode()
    safe = json_safe(json.dumps([text], ensure_ascii=False))
    safe.encode()
    assert json.loads(safe) == [text]


@pytest.fixture
def hostile_avatar(tmp_path: Path) -> Path:
    """An avatar by somebody who means no good; what names may hold on disk is in its name too."""
    text = HOSTILE.replace("\x00", "")
    manifest = {
        "avatarkit": "0.1.0", "device": "cpu", "seed": 3, "recipe": {"name": "draft"}, "consent": text,
        "components": {"body": {"name": text, "version": text}}, "warnings": [text],
        "licenses": {text: {"code": text, "weights": text}}, "metrics": {"psnr": 28.0}, "stages": {},
    }  # fmt: skip
    path = write_bundle(tmp_path / "ada.avatar", {"box": torch.zeros(4)}, manifest)
    named = tmp_path / "\x1b[31m\u202e[bold]ada.avatar"
    path.rename(named)
    return named


def test_what_an_avatar_says_reaches_the_terminal_as_text(hostile_avatar: Path) -> None:
    plain = CliRunner().invoke(app, ["info", str(hostile_avatar)])
    assert shown(plain.stdout) and shown(plain.stderr)
    as_json = CliRunner().invoke(app, ["info", str(hostile_avatar), "--json"])
    assert shown(as_json.stdout) and shown(as_json.stderr)
    assert plain.exit_code == as_json.exit_code
    if plain.exit_code == 0:
        assert "\\x1b[2J" in plain.stdout and "[bold][/]" in plain.stdout
        assert json.loads(as_json.stdout)["consent"] == HOSTILE.replace("\x00", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["info", HOSTILE],
        ["info", "x", f"--{HOSTILE}"],
        [HOSTILE],
        ["build", "x", "--seed", HOSTILE],
        ["plugins", "show", HOSTILE],
        ["render", "x", "-o", f"{HOSTILE}.jpg"],
        ["build", "x", "--set", HOSTILE],
        ["motions", "show", f"{HOSTILE}.bvh"],
        ["plugins", "list", "--plugin", HOSTILE],
        ["weights", "where", HOSTILE],
        ["evaluate", HOSTILE],
    ],
)
def test_what_the_user_typed_comes_back_as_text(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert shown(result.stderr) and shown(result.stdout)


def test_tables_logs_and_bars_show_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    table(("a", HOSTILE), [("[red]x", HOSTILE)])
    logger = logging.getLogger("avatarkit.test")
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()
    try:
        verbose(True)
        logger.warning("%s", HOSTILE)
    finally:
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)
        logging.getLogger("avatarkit").setLevel(logging.NOTSET)
    written = capsys.readouterr()
    assert shown(written.out) and shown(written.err)
    assert "[red]x" in written.out and "\\x1b[2J" in written.err
    progress = BarProgress()
    with progress:
        with progress.stage(HOSTILE):
            progress.update(f"[red]{HOSTILE}", 0.5)
        (task,) = progress._bars.tasks
        assert shown(task.fields["stage"]) and shown(task.description)


# ------------------------------------------------------------------------------------------------------------- encoding


@linux
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_every_encoding_will_do(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "named.py").write_text(
        "from avatarkit import hookimpl\n@hookimpl\ndef register_losses(register):\n"
        "    register('mine', target='named:X', config=None, summary='Zoë, 王 \\x9b\\udcff', license=None)\n",
        encoding="utf-8",
    )
    environ = {**os.environ, "PYTHONIOENCODING": encoding}
    options = {"cwd": tmp_path, "env": environ, "encoding": encoding}
    code, output, errors = run("plugins", "list", "--json", "--plugin", "named.py", **options)
    assert (code, errors) == (0, "")
    assert "\x9b" not in output
    texts = [p["message"] for p in json.loads(output)["problems"]] + [c["summary"] for c in json.loads(output)["components"]]
    assert any("Zoë, 王 \x9b\udcff" in text for text in texts), texts
    code, output, errors = run("weights", "where", "王\udcff", **options)
    assert (code, output) == (2, "")
    assert "\\udcff" in errors


@linux
def test_tensors_lie_in_folders_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a\udcff" / "t.safetensors"
    save_tensors(path, {"x": torch.arange(3)})
    assert load_tensors(path)["x"].tolist() == [0, 1, 2]


# -------------------------------------------------------------------------------------------------------------- streams


def shell(command: str) -> tuple[int, str]:
    """A command line in which ``avatarkit`` stands for ours; exit code and what it wrote to stderr or into the pipe."""
    ours = f'"{sys.executable}" -m avatarkit_cli'
    script = "set -o pipefail; " + command.replace("avatarkit ", f"{ours} ")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


@linux
@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("avatarkit plugins --json >&-", 0, ""),
        ("avatarkit plugins --json >/dev/full", 2, "cannot be written to stdout: No space left on device"),
        ("avatarkit plugins >/dev/full", 2, "cannot be written to stdout: No space left on device"),
        ("avatarkit --help >/dev/full", 2, "No space left on device"),
        ("avatarkit weights where nosuch 2>&-", 2, ""),
        ("avatarkit weights where nosuch 2>/dev/full", 2, ""),
        ("avatarkit weights where nosuch <&- >&- 2>&-", 2, ""),
        ("avatarkit plugins --json >/dev/full 2>/dev/full", 2, ""),
        ("avatarkit plugins --json | true", 0, ""),
        ("avatarkit plugins | head -1 >/dev/null", 0, ""),
        ("avatarkit build --help | true", 0, ""),
    ],
)
def test_streams_that_are_closed_full_or_left_end_in_a_sentence(command: str, code: int, words: str) -> None:
    found, told = shell(command)
    assert found == code, told
    assert "Traceback" not in told and "ignored" not in told
    assert words in told and len(told.splitlines()) == bool(words)


A_HOOK = "from avatarkit import hookimpl\n@hookimpl\ndef register_losses(register):\n    pass\n"


@linux
def test_no_file_of_the_user_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    """Libraries write to stderr by its number: the next file that is opened must not have it."""
    opens = f"import os\nstream = open({str(tmp_path / 'mine')!r}, 'w')\nos.write(2, b'log')\n"
    (tmp_path / "first.py").write_text(A_HOOK + opens)
    assert shell(f"avatarkit plugins list --plugin {tmp_path / 'first.py'} <&- >&- 2>&-")[0] == 0
    assert (tmp_path / "mine").read_bytes() == b""


# -------------------------------------------------------------------------------------------------------------- signals

SIGNALS = [signal.SIGINT, signal.SIGTERM] + [signal.SIGHUP] * (os.name != "nt")
# Sends a signal to the process itself as soon as a module is looked for.
AT_IMPORT = """
import os
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number:d})
sys.meta_path.insert(0, Finder())
"""


@posix
@pytest.mark.parametrize(
    ("number", "module"),
    [*((number, "avatarkit_cli.streams") for number in SIGNALS), (SIGNALS[0], "typer"), (SIGNALS[-1], "avatarkit.registry")],
)
def test_a_signal_during_imports_is_130_and_one_line(number: int, module: str) -> None:
    code, output, errors = run("plugins", "list", before=AT_IMPORT.format(module=module, number=number))
    assert code == 130
    assert output == ""
    assert errors.splitlines() == ["avatarkit: interrupted. Run the same command again to continue."]


WORK = """
import tempfile, time, sys
from pathlib import Path
from avatarkit.utils.files import temporary_folder, writing
{before}
with writing(Path({folder!r}) / "out") as path, temporary_folder(Path({folder!r}) / "frames"):
    path.write_bytes(b"half")
    print("ready", flush=True)
    {wait}
"""
WAITS = {
    "sleep": ("", "time.sleep(60)"),
    "threads": (
        "from concurrent.futures import ThreadPoolExecutor\nfrom threading import Event\npool = ThreadPoolExecutor(1)",
        "pool.submit(Event().wait, 3).result()",
    ),
    "exec": ("", "exec('time.sleep(60)')"),  # Python itself would end by SIGINT
    "swallowed": (
        "",
        "\n    try: time.sleep(60)\n    except BaseException: pass\n    from avatarkit_cli.progress import make_progress"
        "\n    progress = make_progress()"
        "\n    for _ in range(100):\n        progress.update('step', 0.5)\n        time.sleep(0.1)",
    ),
    "finalizer": (
        "class Slow:\n    def __del__(self): time.sleep(1)",
        "\n    Slow()\n    time.sleep(60)",
    ),
}


@posix
@pytest.mark.parametrize("wait", WAITS)
def test_a_signal_during_work_cleans_up(wait: str, tmp_path: Path) -> None:
    before, waits = WAITS[wait]
    target = tmp_path / "target"
    target.mkdir()
    (target / "out").write_bytes(b"old")
    (tmp_path / "works.py").write_text(WORK.format(before=before, folder=str(target), wait=waits))
    number = SIGNALS[list(WAITS).index(wait) % len(SIGNALS)]
    process = start("plugins", "list", "--plugin", str(tmp_path / "works.py"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    process.send_signal(number)  # pressed twice
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert errors.splitlines()[-1:] == ["avatarkit: interrupted. Run the same command again to continue."]
    assert "Traceback" not in errors and "ignored" not in errors
    assert [p.name for p in target.iterdir()] == ["out"]
    assert (target / "out").read_bytes() == b"old"


@posix
def test_nohup_is_obeyed(tmp_path: Path) -> None:
    (tmp_path / "works.py").write_text(A_HOOK + "import time\nprint('ready', flush=True)\ntime.sleep(0.5)\n")
    ignore = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)"
    process = start("plugins", "list", "--plugin", str(tmp_path / "works.py"), before=ignore)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, errors) == (0, "")
    assert "coupled-gs" in output


# -------------------------------------------------------------------------------------------------------------- options

LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ["render", "x", "-o", "x.png", "--yaw", "inf"],
        ["render", "x", "-o", "x.png", "--pitch", "nan"],
        ["render", "x", "-o", "x.png", "--size", f"{'9' * 5000}x64"],
        ["animate", "x", "-o", "x.mp4", "--fps", "nan"],
        ["animate", "x", "-o", "x.mp4", "--fps", "1e999"],
        ["build", "a.jpg", "--seed", "-1"],
        ["build", "a.jpg", "--seed", str(2**63)],
        ["build", "a.jpg", "--seed", "9" * 5000],
        ["build", "a.jpg", "--person", str(2**70)],
        ["view", "x", "--port", "65536"],
        ["view", "x", "--port", "-1"],
        ["evaluate", "a.jpg", "--frames", "0"],
        ["build", ""],
        ["build", "."],
        ["build", "/"],
        ["build", LONG],
        ["build", "a\0b"],
        ["build", "a.jpg", "-o", ""],
        ["build", "a.jpg", "-o", "."],
        ["build", "a.jpg", "-o", "/"],
        ["build", "a.jpg", "-o", ".."],
        ["build", "a.jpg", "-o", LONG],
        ["build", "a.jpg", "-o", "a\0b"],
        ["build", "a.jpg", "-o", "a\udcff"],
        ["build", "a.jpg", "--consent", "\udcff"],
        ["info", ""],
        ["info", LONG],
        ["info", "/"],
        ["render", "x", "-o", f"{LONG}.png"],
        ["weights", "add", "no", ""],
        ["weights", "add", "no", LONG],
        ["motions", "show", f"{LONG}.bvh"],
        ["motions", "show", LONG],
        ["evaluate", LONG],
        ["plugins", "new", "x", "--kind", "loss", "-o", "/"],
        ["plugins", "new", "x", "--kind", "loss", "-o", ""],
        ["plugins", "list", "--plugin", LONG],
        ["export", "x", "--to", "web", "-o", "x", "--set", "fps=inf"],
        ["export", "x", "--to", "web", "-o", "x", "--set", f"fps={'9' * 5000}"],
        ["export", "x", "--to", "ply", "-o", "."],
        ["track", "a.jpg", "-o", "m.npz", "--overlay", "m.npz"],
    ],
)
def test_options_out_of_range_are_one_sentence(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"x")
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith(("avatarkit: ", "Error: "))
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", "in"],
        ["track", "in", "-o"],
        ["track", "in", "-o", "m.npz", "--overlay"],
        ["animate", "x", "--video", "in", "-o"],
        ["animate", "x", "--audio", "in", "-o"],
        ["animate", "x", "--motion", "in", "-o"],
        ["animate", "x", "--camera", "in", "-o"],
        ["render", "x", "--pose", "in@1", "-o"],
        ["export", "x", "--to", "ply", "--pose", "in", "-o"],
        ["motions", "convert", "in", "-o"],
        ["evaluate", "in", "-o"],
        ["build", "x", "--recipe", "in", "-o"],
        ["export", "in", "--to", "ply", "-o"],
        ["render", "in", "-o"],
    ],
)
@pytest.mark.parametrize("way", ["same", "link"])
def test_no_input_is_overwritten(arguments: list[str], way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.npz").write_bytes(b"mine")
    output = "in.npz"
    if way == "link":
        (tmp_path / "out.npz").symlink_to("in.npz")
        output = "out.npz"
    words = [word.replace("in", "in.npz") if word in ("in", "in@1") else word for word in arguments]
    result = CliRunner().invoke(
        app, [*words, *([] if words[-1].startswith("-o") or words[-1] == "--overlay" else ["-o"]), output]
    )
    assert result.exit_code == 2
    assert "is an input of this command and would be overwritten" in result.stderr
    assert (tmp_path / "in.npz").read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["preview.png", "manifest.json", "cache/x.png", "cache"])
@pytest.mark.parametrize("through", ["", "link/"])
def test_no_part_of_an_avatar_is_overwritten(name: str, through: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.avatar").mkdir()
    (tmp_path / "link").symlink_to(".")
    (tmp_path / "a.avatar" / "manifest.json").write_text('{"format": "avatarkit-avatar", "files": {"preview.png": ""}}')
    result = CliRunner().invoke(app, ["animate", "a.avatar", "-o", f"{through}a.avatar/{name}"])
    assert result.exit_code == 2
    assert "is a part of a.avatar and would be overwritten" in result.stderr
    check_output(Path("a.avatar/talk.mp4"), Path("a.avatar"))


def test_weights_that_lead_to_themselves_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "vgg.pth").write_bytes(b"weights")
    assert CliRunner().invoke(app, ["weights", "add", "vgg16", str(tmp_path / "vgg.pth")]).exit_code == 0
    where = CliRunner().invoke(app, ["weights", "where", "vgg16"]).stdout.strip()
    CliRunner().invoke(app, ["weights", "add", "vgg16", where])
    assert Path(where).read_bytes() == b"weights"


@pytest.mark.parametrize("text", ["wave@1e308", "wave@nan", "wave@inf", "wave@x"])
def test_poses_at_impossible_times_are_refused(text: str) -> None:
    from avatarkit.errors import InputError

    with pytest.raises(InputError, match="a number of seconds"):
        find_pose(text, None)  # type: ignore[arg-type]


def test_values_of_options_are_toml_within_bounds_or_words() -> None:
    options, _ = parse_options(["a=3", "b=true", "e=x\x1b"], "me")
    assert options == {"a": 3, "b": True, "e": "x\x1b"}
    for text, said in (("c=inf", "it holds inf"), (f"d={'[' * 500}", "it is nested deeper than 32 levels")):
        with pytest.raises(ConfigError, match=said):
            parse_options([text], "me")


@posix
def test_a_home_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVATARKIT_CACHE", "~nosuchuser/cache")
    with pytest.raises(ConfigError, match="there is no user 'nosuchuser'"):
        cache_folder()
    for command in (["weights", "list"], ["doctor"], ["weights", "where", "vgg16"]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2
        assert "there is no user 'nosuchuser'" in result.stderr and "Traceback" not in result.stderr


@posix
def test_faults_of_the_machine_are_no_bugs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import avatarkit.storage.bundle

    def fails(error: BaseException) -> Any:
        def raise_it(path: Path) -> None:
            raise error

        monkeypatch.setattr(avatarkit.storage.bundle, "read_manifest", raise_it)
        return CliRunner().invoke(app, ["info", "x.avatar"])

    of_torch = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes.")
    in_a_stage = StageError("The stage x failed.")
    in_a_stage.__cause__ = of_torch
    full, forbidden = OSError(28, "No space left on device", "f"), PermissionError(13, "Permission denied", "f")
    for error in (full, forbidden, MemoryError(), of_torch, in_a_stage):
        result = fails(error)
        assert (result.exit_code, "Traceback" in result.stderr) == (2, False)
    assert fails(FileNotFoundError(2, "No such file", "f")).exit_code == 1
    result = fails(FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"))  # of the module tempfile
    assert (result.exit_code, "set TMPDIR" in result.stderr) == (2, True)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    result = fails(FileNotFoundError(2, "No such file"))
    assert (result.exit_code, result.stderr) == (2, "avatarkit: The current folder no longer exists. Change to another one.\n")


def test_motions_of_any_seed_can_be_drawn() -> None:
    """What training does with the largest seed that the command line takes."""
    assert torch.Generator().manual_seed(((2**63 - 1) * 1_000_003 + 5) % 2**63) is not None
    assert np.random.default_rng([2**63 - 1, 3]).random() < 1
