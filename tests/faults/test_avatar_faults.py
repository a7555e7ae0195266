"""Avatars from strangers: whatever their files hold, the answer is a picture or one sentence."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save
from typer.testing import CliRunner

from avatarkit.animation import LoadedAvatar, load
from avatarkit.config import Recipe
from avatarkit.config.options import Machine, machine_options, without_machine
from avatarkit.errors import AvatarkitError, ConfigError, InputError, StoreError
from avatarkit.hookspecs import hookimpl
from avatarkit.pipeline.build import build
from avatarkit.registry import Registry
from avatarkit.storage.bundle import read_manifest, recover, workspace, write_bundle
from avatarkit.testing import ReferenceRenderer
from avatarkit.testing.method import TINY_RECIPE, memory_registry, tiny_build
from avatarkit_cli.main import app

PLUGIN = Path(__file__).parents[1] / "tiny_plugin.py"
TENSORS, MANIFEST = "avatar.safetensors", "manifest.json"
SECONDS, MEMORY = 10.0, 1e9  # CPU time of one case; bytes
IN_SAME_FOLDER = [HealthCheck.function_scoped_fixture]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_build(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="module")
def registry() -> Registry:
    return memory_registry()


class Stranger:
    """A copy of a good avatar, to be spoiled again and again."""

    def __init__(self, good: Path, path: Path) -> None:
        self.path = path
        self.manifest: dict[str, Any] = json.loads((good / MANIFEST).read_text(encoding="utf-8"))
        self.tensors = load_file(str(good / TENSORS))
        self.bytes = (good / TENSORS).read_bytes()
        path.mkdir()
        self.write(self.manifest)

    def write(self, manifest: dict[str, Any] | str | bytes, tensors: bytes | dict[str, torch.Tensor] | None = None) -> Path:
        """Tensors get the checksum that the manifest tells."""
        for name in (TENSORS, MANIFEST):
            (self.path / name).unlink(missing_ok=True)
        content = self.bytes if tensors is None else tensors if isinstance(tensors, bytes) else save(tensors)
        (self.path / TENSORS).write_bytes(content)
        if tensors is not None:
            assert isinstance(manifest, dict)
            manifest = {**manifest, "files": {TENSORS: hashlib.sha256(content).hexdigest()}}
        text = json.dumps(manifest) if isinstance(manifest, dict) else manifest
        (self.path / MANIFEST).write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.path


@pytest.fixture
def stranger(good: Path, tmp_path: Path) -> Stranger:
    return Stranger(good, tmp_path / "x.avatar")


def sentence(call: Callable[[], Any]) -> str | None:
    """What is said about a file that is refused; None where it is taken."""
    before, found = time.process_time(), None
    try:
        call()
    except AvatarkitError as error:
        found = error
    finally:
        assert time.process_time() - before < SECONDS
    if found is not None:
        said = str(found)
        assert found.exit_code == 2
        assert "\n" not in said and said.isprintable() and len(said) < 900, said
        assert said.endswith((".", "!")) or "pip install" in said, said
        return said
    return None


def drawn(path: Path, registry: Registry) -> LoadedAvatar:
    avatar = load(path, registry, "cpu")
    assert torch.isfinite(avatar.render(width=16, height=16)).all()
    repr(avatar)
    return avatar


@contextmanager
def only_plugins(names: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AVATARKIT_PLUGINS", names)
        yield


def command(*arguments: str) -> str | None:
    """A command with the tiny plugin; what it says where it refuses."""
    with only_plugins("export"):
        result = CliRunner().invoke(app, [*arguments, *(["--plugin", str(PLUGIN)] if arguments[0] != "info" else [])])
    assert result.exit_code in (0, 2), (result.output, result.exception)
    assert "Traceback" not in result.output
    assert all(c.isprintable() or c in "\n\t" for c in result.output)
    if result.exit_code == 0:
        return None
    lines = [line for line in result.stderr.splitlines() if line.startswith("avatarkit: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]


# ------------------------------------------------------------------------------------------------------------- manifest


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


VALUES: dict[str, Any] = {
    "text": "abc", "nothing": None, "negative": -1, "huge": 10**30, "real": 3.5, "true": True, "list": [], "table": {},
    "deep": deep(60), "long": "x" * 1_000_000, "controls": "\x1b[31mred\x9b2J", "lines": "a\nb", "marks": "a\u202eb",
    "mixed": [1, {"a": None}], "path": "../../etc/passwd", "tables": {"a": {"b": {"c": [None]}}},
}  # fmt: skip
FIELDS = (
    "format", "format_version", "avatarkit", "components", "components.body", "components.body.name", "components.body.version",
    "recipe", "recipe.name", "recipe.body", "recipe.body.use", "recipe.avatar.scale", "recipe.losses", "recipe.losses.rgb",
    "recipe.losses.rgb.use", "recipe.losses.rgb.weight", "recipe.training", "recipe.training.steps", "seed", "device", "inputs",
    "inputs.photo", "stages", "stages.tracking", "stages.tracking.key", "stages.tracking.seconds", "stages.tracking.reused",
    "metrics", "metrics.mask_iou", "seen", "seen.face", "warnings", "warnings.0", "licenses", "licenses.tiny",
    "licenses.tiny.code", "licenses.tiny.commercial", "consent", "labels", "files", f"files.{TENSORS.replace('.', '!')}",
)  # fmt: skip
# Values that a field may have although they are not what was written.
HARMLESS = {
    "text": ("avatarkit", "recipe.name", "device", "consent", "warnings.0", "licenses.tiny.code", "components.body.name",
             "components.body.version"),
    "path": ("avatarkit", "recipe.name", "device", "consent", "warnings.0", "licenses.tiny.code", "components.body.name",
             "components.body.version"),
    "lines": ("consent", "warnings.0", "licenses.tiny.code"),
    "nothing": ("consent", "licenses.tiny.commercial", "metrics.mask_iou"),
    "negative": ("seed", "metrics.mask_iou"),
    "real": ("metrics.mask_iou", "stages.tracking.seconds"),
    "true": ("seen.face", "licenses.tiny.commercial", "stages.tracking.reused"),
    "list": ("warnings",),
    "table": ("components", "inputs", "recipe", "stages", "metrics", "seen", "licenses", "licenses.tiny", "labels",
              "stages.tracking"),
    "tables": ("recipe", "stages", "stages.tracking", "licenses", "licenses.tiny", "labels"),
}  # fmt: skip
IN_RECIPE = "recipe."


def changed(manifest: dict[str, Any], field: str, change: Callable[[Any, Any], None]) -> dict[str, Any]:
    """A copy, in which ``change`` was given the table (or list) and the key of a field."""
    new = table = copy.deepcopy(manifest)
    *above, last = field.split(".")
    for name in above:
        table = table[int(name)] if isinstance(table, list) else table.setdefault(name, {})
    change(table, int(last) if isinstance(table, list) else last.replace("!", "."))
    return new


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_may_hold_anything(stranger: Stranger, registry: Registry, field: str) -> None:
    for kind, value in VALUES.items():
        path = stranger.write(changed(stranger.manifest, field, lambda table, key, v=value: table.__setitem__(key, v)))
        said = sentence(lambda path=path: read_manifest(path))
        if kind in ("deep", "long", "controls", "huge", "marks"):
            assert said is not None, f"{field} = {kind} is taken"
        elif not field.startswith(IN_RECIPE) and field not in ("format", "format_version", "files"):
            assert (said is None) == (field in HARMLESS.get(kind, ())), f"{field} = {kind}: {said}"
            assert said is None or field.replace("!", ".").rpartition(".")[2] in said or kind == "tables", said
        if said is None:  # who reads a manifest begins with ``read_manifest``
            assert command("info", str(path)) is None
            sentence(lambda path=path: drawn(path, registry))
    del_ = changed(stranger.manifest, field, lambda table, key: table.__delitem__(key) if not _absent(table, key) else None)
    path = stranger.write(del_)
    sentence(lambda: read_manifest(path))
    command("info", str(path))
    sentence(lambda: drawn(path, registry))


def _absent(table: Any, key: Any) -> bool:
    return not isinstance(table, list) and key not in table


def test_fields_that_are_not_known_are_kept(stranger: Stranger, registry: Registry) -> None:
    path = stranger.write({**stranger.manifest, "of_a_newer_version": {"a": [1, 2, {"b": None}]}})
    assert read_manifest(path)["of_a_newer_version"] == {"a": [1, 2, {"b": None}]}
    drawn(path, registry)


def test_an_old_manifest_is_read(stranger: Stranger, registry: Registry) -> None:
    kept = ("format", "format_version", "recipe", "files")
    drawn(stranger.write({k: v for k, v in stranger.manifest.items() if k in kept}), registry)


TEXTS: dict[str, Callable[[str], str]] = {
    "nothing": lambda t: "", "null": lambda t: "null", "a list": lambda t: "[]", "a number": lambda t: "5",
    "half": lambda t: t[: len(t) // 2], "NaN": lambda t: t.replace('"seed": 0', '"seed": NaN'),
    "infinite": lambda t: t.replace('"seed": 0', '"seed": 1e999'),
    "digits": lambda t: t.replace('"seed": 0', '"seed": ' + "9" * 6000),
    "twice": lambda t: t.replace('"seed": 0', '"seed": 0, "seed": 1'),
    "deep lists": lambda t: t.replace('"seed": 0', '"a": ' + "[" * 10**5),
    "deep tables": lambda t: t.replace('"seed": 0', '"a": ' + '{"a":' * 900 + "1" + "}" * 900),
    "surrogates": lambda t: t.replace('"device": "cpu"', '"device": "\\ud800"'),
    "a NUL": lambda t: t.replace('"device": "cpu"', '"device": "\\u0000"'), "large": lambda t: t + " " * (5 << 20),
    "a name that leads out": lambda t: t.replace(f'"{TENSORS}": ', f'"../{TENSORS}": "{"0" * 64}", "{TENSORS}": '),
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_is_no_manifest_is_one_sentence(stranger: Stranger, registry: Registry, text: str) -> None:
    path = stranger.write(TEXTS[text](json.dumps(stranger.manifest)))
    assert sentence(lambda: read_manifest(path)) is not None
    assert sentence(lambda: drawn(path, registry)) is not None
    assert command("info", str(path)) is not None
    assert command("render", str(path), "-o", str(path.parent / "x.png")) is not None
    assert not (path.parent / "x.png").exists()


@settings(max_examples=60, deadline=None, suppress_health_check=IN_SAME_FOLDER)
@given(data=st.data())
def test_any_bytes_of_a_manifest(good: Path, stranger: Stranger, registry: Registry, data: st.DataObject) -> None:
    text = bytearray((good / MANIFEST).read_bytes())
    path = stranger.write(_mutated(text, data))
    sentence(lambda: read_manifest(path))
    sentence(lambda: drawn(path, registry))
    command("info", str(path))


def _mutated(content: bytearray, data: st.DataObject, within: int | None = None) -> bytes:
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(within or len(content), len(content)) - 1))
        piece = data.draw(st.binary(max_size=3) | st.sampled_from([b"[", b'"', b"{}", b"null", b"-1", b"1e9", b"9" * 30]))
        content[at : at + data.draw(st.integers(0, 3))] = piece
    return bytes(content)


# -------------------------------------------------------------------------------------------------------------- tensors

SPOILED: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "missing": lambda t: None,
    "another type": lambda t: t.double() if t.is_floating_point() else t.float(),
    "longer": lambda t: torch.cat([t, t[:1]]),
    "empty": lambda t: t[:0].clone(),
    "one number": lambda t: t.reshape(-1)[0].clone(),
    "other dimensions": lambda t: t.reshape(1, 1, *t.shape).clone(),
    "not finite": lambda t: torch.full_like(t, float("nan")) if t.is_floating_point() else torch.full_like(t, -(2**31)),
    "infinite": lambda t: torch.full_like(t, float("-inf")) if t.is_floating_point() else torch.full_like(t, 2**31 - 1),
    "huge": lambda t: torch.full_like(t, 1e30 if t.is_floating_point() else 2**30),
}
NAMES = (
    "avatar.colors", "avatar.shape", "box", "camera.K", "camera.T_camera_world", "camera.size", "photo.expression",
    "photo.joints", "photo.root", "photo.shape", "photo.translation",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", SPOILED)
def test_a_tensor_that_does_not_belong_is_named(stranger: Stranger, registry: Registry, name: str, how: str) -> None:
    assert set(stranger.tensors) == set(NAMES)
    spoiled = SPOILED[how](stranger.tensors[name])
    tensors = {k: v for k, v in stranger.tensors.items() if k != name} | ({} if spoiled is None else {name: spoiled})
    path = stranger.write(stranger.manifest, tensors)
    said = sentence(lambda: drawn(path, registry))
    assert said is not None and name in said and str(path) in said, said


WRONG: dict[str, tuple[str, Any, Any]] = {
    "no focal length": ("camera.K", (0, 0, 0), 0.0),
    "a negative focal length": ("camera.K", (0, 1, 1), -50.0),
    "a sheared camera": ("camera.T_camera_world", (0, 0, 1), 5.0),
    "a mirrored camera": ("camera.T_camera_world", (0, 0), torch.tensor([-1.0, 0.0, 0.0, 0.0])),
    "a camera far away": ("camera.T_camera_world", (0, 0, 3), 1e6),
    "a picture of one pixel": ("camera.size", (0,), torch.tensor([1, 1])),
    "a picture too wide": ("camera.size", (0, 0), 8193),
    "a box the wrong way round": ("box", slice(None), torch.tensor([40.0, 40.0, 10.0, 10.0])),
    "a box that is a point": ("box", slice(None), torch.tensor([10.0, 10.0, 10.0, 10.0])),
    "a box outside": ("box", slice(None), torch.tensor([1.0, 1.0, 500.0, 500.0])),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_camera_or_box_that_cannot_be_is_named(stranger: Stranger, registry: Registry, what: str) -> None:
    name, where, value = WRONG[what]
    stranger.tensors[name][where] = value
    path = stranger.write(stranger.manifest, stranger.tensors)
    said = sentence(lambda: drawn(path, registry))
    assert said is not None and name in said
    assert command("render", str(path), "-o", str(path.parent / "x.png"), "--size", "16x16") is not None
    assert command("export", str(path), "--to", "ply", "-o", str(path.parent / "x.ply")) is not None
    assert sorted(p.name for p in path.parent.iterdir()) == ["x.avatar"]


def test_more_tensors_than_needed_are_harmless(stranger: Stranger, registry: Registry) -> None:
    more = {"new.thing": torch.zeros(3), "avatar.new": torch.zeros(0, 3)}
    path = stranger.write(stranger.manifest, stranger.tensors | more)
    drawn(path, registry)
    for name in ("ply", "spz"):
        assert command("export", str(path), "--to", name, "-o", str(path.parent / f"x.{name}")) is None


def header(entries: Any, rest: bytes = b"") -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + rest


def entry(**changes: Any) -> dict[str, Any]:
    return {"box": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}}


FILES: dict[str, bytes] = {
    "nothing": b"", "7 bytes": b"1234567", "text": b"these are no tensors", "a pickle": b'\x80\x04\x95cos\nsystem\n(S"x"\ntR.',
    "a long header": struct.pack("<Q", 2**63) + b"{}", "a header beyond the file": struct.pack("<Q", 2**30) + b"{}",
    "a list": header([1, 2]), "no entries": header({"box": 5}, b"1234"), "deep": header(b'{"a":' + b"[" * 200_000),
    "twice": header(b'{"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[0],"data_offsets":[0]}}'),
    "an unknown type": header(entry(dtype="Q99"), b"1234"), "a small type": header(entry(dtype="F8_E4M3", shape=[4]), b"1234"),
    "huge and empty": header(entry(shape=[0, 2**62], data_offsets=[0, 0])), "overflowing": header(entry(shape=[2**62, 4])),
    "negative": header(entry(data_offsets=[-4, 0]), b"1234"), "fractions": header(entry(shape=[1.0]), b"1234"),
    "bools": header(entry(shape=[True]), b"1234"), "a gap": header(entry(data_offsets=[4, 8]), b"12345678"),
    "too long": header(entry(), b"12345"), "too short": header(entry(), b"123"), "Latin-1": header(b'{"\xff":1}'),
    "overlapping": header(entry() | {"b": entry()["box"]}, b"1234"), "many dimensions": header(entry(shape=[1] * 70), b"1234"),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_holds_no_tensors_is_one_sentence(stranger: Stranger, registry: Registry, what: str) -> None:
    path = stranger.write(stranger.manifest, FILES[what])
    said = sentence(lambda: drawn(path, registry))
    assert said is not None and f"{path} is damaged" in said and TENSORS in said


@settings(max_examples=60, deadline=None, suppress_health_check=IN_SAME_FOLDER)
@given(data=st.data(), head=st.booleans())
def test_any_bytes_of_tensors(stranger: Stranger, registry: Registry, data: st.DataObject, head: bool) -> None:
    length = 8 + int.from_bytes(stranger.bytes[:8], "little")
    path = stranger.write(stranger.manifest, _mutated(bytearray(stranger.bytes), data, length if head else None))
    sentence(lambda: drawn(path, registry))


@settings(max_examples=60, deadline=None, suppress_health_check=IN_SAME_FOLDER)
@given(name=st.sampled_from(NAMES), bits=st.integers(0, 2**32 - 1), place=st.integers(0, 10**6))
def test_any_number_in_a_tensor(stranger: Stranger, registry: Registry, name: str, bits: int, place: int) -> None:
    tensors = {k: v.clone() for k, v in stranger.tensors.items()}
    flat = tensors[name].view(-1)
    flat[place % len(flat)] = torch.tensor(struct.unpack("<f", struct.pack("<I", bits))[0] if flat.is_floating_point() else bits)
    path = stranger.write(stranger.manifest, tensors)
    sentence(lambda: drawn(path, registry))


# ------------------------------------------------------------------------------------------------------ files and links


@pytest.mark.parametrize("name", [TENSORS, MANIFEST])
@pytest.mark.parametrize("what", ["a pipe", "/dev/zero", "/etc/passwd", "another avatar", "itself", "a folder"])
def test_links_pipes_and_devices_are_not_followed(
    good: Path, stranger: Stranger, registry: Registry, name: str, what: str
) -> None:
    file = stranger.path / name
    file.unlink()
    if what == "a pipe":
        os.mkfifo(file)
    elif what == "a folder":
        file.mkdir()
    else:
        file.symlink_to({"another avatar": good / name, "itself": file}.get(what, Path(what)))
    said = sentence(lambda: drawn(stranger.path, registry))
    assert said is not None and "link to another place" in said


def test_an_avatar_that_is_itself_behind_a_link_is_read(stranger: Stranger, registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(stranger.path)
    drawn(tmp_path / "link", registry)


LIMITED = """
import resource, sys
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF)
from avatarkit.animation import load
from avatarkit.errors import InputError
from avatarkit.testing.method import memory_registry
registry = memory_registry()
for path in sys.argv[1:]:
    start = resource.getrusage(resource.RUSAGE_SELF)
    try:
        load(path, registry, "cpu")
        raise SystemExit(f"{path} was taken")
    except InputError as error:
        print(error)
    end = resource.getrusage(resource.RUSAGE_SELF)
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 10, path
    assert end.ru_maxrss * 1024 < 1e9, f"{path}: {end.ru_maxrss} kB"
"""


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files and ru_maxrss in kB")
def test_large_files_take_little_memory(good: Path, tmp_path: Path) -> None:
    many = Stranger(good, tmp_path / "many.avatar")
    many.write(json.dumps(many.manifest).replace('"seed": 0', '"a": [' + "[]," * 15_000_000 + "[]]"))
    sparse = Stranger(good, tmp_path / "sparse.avatar")
    os.truncate(sparse.path / TENSORS, 6_000_000_000)
    wide = Stranger(good, tmp_path / "wide.avatar")
    count = 400 << 20
    start = header({"avatar.colors": {"dtype": "F32", "shape": [count // 12, 3], "data_offsets": [0, count // 12 * 12]}})
    with (wide.path / TENSORS).open("wb") as stream:
        stream.write(start)
        stream.truncate(len(start) + count // 12 * 12)
    with (wide.path / TENSORS).open("rb") as stream:
        wide.manifest["files"] = {TENSORS: hashlib.file_digest(stream, "sha256").hexdigest()}
    (wide.path / MANIFEST).write_text(json.dumps(wide.manifest))
    paths = [str(s.path) for s in (many, sparse, wide)]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, preexec_fn=limited, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == len(paths)


# --------------------------------------------------------------------------------------------------------------- recipe


@dataclass(frozen=True)
class Inner:
    device: Annotated[str, Machine] = "here"
    size: int = 1


@dataclass(frozen=True)
class Greedy:
    threads: Annotated[int, Machine] = 0
    folder: Path | None = None
    weights: tuple[Path, ...] = ()
    sharpness: float = 1.0
    inner: Inner = Inner()


class GreedyRenderer(ReferenceRenderer):
    def __init__(self, config: Greedy, context: Any) -> None:
        super().__init__()
        self.config = config


def greedy_plugin() -> ModuleType:
    plugin = ModuleType("greedy")

    @hookimpl
    def register_renderers(register: Any) -> None:
        register("greedy", target=f"{__name__}:GreedyRenderer", config=f"{__name__}:Greedy", summary="for tests")

    plugin.register_renderers = register_renderers  # type: ignore[attr-defined]
    return plugin


def test_options_of_the_machine_are_told_apart() -> None:
    assert machine_options(Greedy) == {"threads", "folder", "weights"}
    values = {"threads": 3, "sharpness": 2.0, "inner": {"device": "there", "size": 2}, "unknown": 1}
    assert without_machine(Greedy, values) == {"sharpness": 2.0, "inner": {"size": 2}, "unknown": 1}
    marked = {c.name: machine_options(t) for c in Registry.load().all_components() if (t := c.config_type())}
    assert marked["cpu"] == {"threads"}
    assert marked["portrait4d"] >= {"allow_pickle", "checkout", "gpu", "python"}
    assert marked["folder"] == {"path"}


def test_the_recipe_of_an_avatar_does_not_rule_the_machine(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this_module())
    registry = memory_registry(greedy_plugin())
    wanted = {"use": "greedy", "threads": 10**6, "folder": "/etc", "weights": ["/"], "inner": {"device": "x"}, "sharpness": 2.0}
    stranger.manifest["recipe"]["renderer"] = wanted
    avatar = drawn(stranger.write(stranger.manifest), registry)
    assert avatar.renderer.config == Greedy(sharpness=2.0)  # type: ignore[attr-defined]
    stranger.manifest["recipe"]["renderer"] = {"use": "greedy", "sharpness": "x"}
    path = stranger.write(stranger.manifest)
    with pytest.raises(ConfigError, match=r"must be a number, not 'x' \(from the manifest of x.avatar\)"):
        load(path, registry)


def _this_module() -> ModuleType:
    module = ModuleType(__name__)
    module.__dict__.update(globals())
    return module


@pytest.mark.parametrize("name", ["os:system", "../../evil", "evil.py", "avatarkit.pipeline:build", "tiny.x", ""])
@pytest.mark.parametrize("slot", ["body", "avatar", "renderer"])
def test_names_of_components_import_nothing(stranger: Stranger, registry: Registry, slot: str, name: str) -> None:
    stranger.manifest["recipe"][slot] = {"use": name}
    loaded = set(sys.modules)
    said = sentence(lambda: load(stranger.write(stranger.manifest), registry))
    assert said is not None and f"There is no component {name!r} of the kind {slot}" in said
    assert "evil" not in set(sys.modules) - loaded


# ---------------------------------------------------------------------------------------------------------------- cache


def spoil(stage: Path, file: str, change: Callable[[Path], None]) -> None:
    """Changes a file of a stage and its checksum with it."""
    change(stage / file)
    record = json.loads((stage / "stage.json").read_text())
    record["files"][file] = hashlib.sha256((stage / file).read_bytes()).hexdigest()
    (stage / "stage.json").write_text(json.dumps(record))


def numbers(name: str, how: str) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        tensors = load_file(str(file))
        spoiled = SPOILED[how](tensors.pop(name))
        file.write_bytes(save(tensors if spoiled is None else tensors | {name: spoiled}))

    return change


def facts(field: str, value: Any) -> Callable[[Path], None]:
    def change(file: Path) -> None:
        data = json.loads(file.read_text())
        file.write_text(json.dumps(changed(data, field, lambda table, key: table.__setitem__(key, value))))

    return change


CACHES: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
    ("tracking", "subject.safetensors", numbers("params.joints", "not finite")),
    ("tracking", "subject.safetensors", numbers("image", "longer")),
    ("tracking", "subject.safetensors", numbers("alpha", "huge")),
    ("tracking", "subject.safetensors", lambda f: f.write_bytes(b"no tensors")),
    ("tracking", "subject.json", facts("quality", [])),
    ("tracking", "subject.json", facts("keypoints.box", ["a"])),
    ("tracking", "subject.json", lambda f: f.write_text("[" * 10**5)),
    ("motions", "motions.json", facts("motions.0.fps", -5)),
    ("motions", "motions.safetensors", numbers("0.joints", "other dimensions")),
    ("body-labels-0", "clip.safetensors", numbers("frames", "longer")),
    ("body-labels-0", "clip.json", facts("region", "elsewhere")),
    ("head-labels-1", "clip.safetensors", numbers("cameras.size", "huge")),
    ("avatar", "avatar.safetensors", numbers("colors", "longer")),
    ("avatar", "avatar.safetensors", numbers("colors", "not finite")),
    ("avatar", "avatar.safetensors", numbers("shape", "missing")),
    ("avatar", "training.json", facts("curves", {"rgb": [["a", "b"]]})),
    ("preview", "metrics.json", facts("psnr_matte", "high")),
)


def rounds() -> list[dict[str, tuple[str, Callable[[Path], None]]]]:
    """The garbage of ``CACHES``: in every round a build meets that of several stages, and at most one kind of each."""
    found: list[dict[str, tuple[str, Callable[[Path], None]]]] = []
    for name, file, change in CACHES:
        place = next((r for r in found if name not in r), None)
        if place is None:
            found.append(place := {})
        place[name] = (file, change)
    return found


@pytest.mark.parametrize("garbage", rounds(), ids="-".join)
def test_stages_of_garbage_are_made_again(
    good: Path, tmp_path: Path, garbage: dict[str, tuple[str, Callable[[Path], None]]], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tiny.avatar"
    shutil.copytree(good, path)
    for name, (file, change) in garbage.items():
        (stage,) = (path / "cache").glob(f"{name}-????????????????")
        spoil(stage, file, change)
    build(good.parent / "tiny.png", path, recipe=Recipe.from_dict(TINY_RECIPE, "test"), registry=memory_registry(), device="cpu")
    for name in garbage:
        assert f"The stored results of the stage {name} cannot be read" in caplog.text
    assert (path / TENSORS).read_bytes() == (good / TENSORS).read_bytes()


def test_records_of_garbage_are_made_again(good: Path, tmp_path: Path) -> None:
    path, values = tmp_path / "tiny.avatar", ["abc", -1, None, [1], True]
    shutil.copytree(good, path)
    records = sorted((path / "cache").glob("*/stage.json"))
    assert len(records) >= len(values)
    for number, record in enumerate(records):
        facts("seconds", values[number % len(values)])(record)
    build(good.parent / "tiny.png", path, recipe=Recipe.from_dict(TINY_RECIPE, "test"), registry=memory_registry(), device="cpu")
    assert (path / TENSORS).read_bytes() == (good / TENSORS).read_bytes()


def test_a_cache_full_of_links_and_pipes_leads_nowhere(good: Path, tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "tiny.avatar", tmp_path / "elsewhere"
    shutil.copytree(good, path)
    shutil.copytree(path / "cache", elsewhere)
    before = {p: p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()}
    tracking, motions, *_ = (next((path / "cache").glob(f"{n}-????????????????")) for n in ("tracking", "motions"))
    shutil.rmtree(tracking)
    tracking.symlink_to(elsewhere / tracking.name)
    (motions / "motions.json").unlink()
    os.mkfifo(motions / "motions.json")
    build(good.parent / "tiny.png", path, recipe=Recipe.from_dict(TINY_RECIPE, "test"), registry=memory_registry(), device="cpu")
    assert not tracking.is_symlink()
    assert {p: p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()} == before

    shutil.rmtree(path / "cache")
    (path / "cache").symlink_to(elsewhere)
    with pytest.raises(StoreError, match="cache is a link"):
        build(good.parent / "tiny.png", path, recipe=Recipe.from_dict(TINY_RECIPE, "test"), registry=memory_registry())
    assert {p: p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()} == before


def test_a_rebuild_deletes_nothing_through_a_link(stranger: Stranger, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("known to all")
    (stranger.path / "sub").symlink_to(tmp_path / "mine")
    stranger.manifest["files"]["sub/notes.txt"] = hashlib.sha256(b"known to all").hexdigest()
    write_bundle(stranger.write(stranger.manifest), stranger.tensors, {})
    assert (tmp_path / "mine" / "notes.txt").read_text() == "known to all"


MARK = {"format": "avatarkit-avatar", "format_version": 1}


@pytest.mark.parametrize(
    "manifest",
    [
        MARK,
        {**MARK, "files": {}},
        {**MARK, "files": {"index.html": "0" * 64}},
        {**MARK, "files": [TENSORS]},
        {**MARK, "files": {TENSORS: 5}},
        {**MARK, "format_version": True, "files": {TENSORS: "0" * 64}},
    ],
)
def test_a_mark_alone_makes_no_avatar(good: Path, tmp_path: Path, manifest: dict[str, Any]) -> None:
    app = tmp_path / "app"
    (app / "cache").mkdir(parents=True)
    for name, text in ((MANIFEST, json.dumps(manifest)), (TENSORS, "mine"), ("cache/k", "mine"), ("index.html", "mine")):
        (app / name).write_text(text)
    before = {p: p.read_bytes() for p in app.rglob("*") if p.is_file()}
    with pytest.raises(StoreError, match="exists and is not an avatar"):
        write_bundle(app, {"box": torch.zeros(4)}, {})
    with pytest.raises(StoreError, match="exists and is not"):
        build(good.parent / "tiny.png", app, recipe=Recipe.from_dict(TINY_RECIPE, "test"), registry=memory_registry(), fresh=True)
    assert {p: p.read_bytes() for p in app.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("name", ["preview.png", "preview.mp4", "report.html"])
def test_only_files_that_the_manifest_lists_are_replaced(good: Path, stranger: Stranger, name: str) -> None:
    del stranger.manifest["files"][name]
    (stranger.write(stranger.manifest) / name).write_text("mine")
    with pytest.raises(StoreError, match=f"{name} exists and is not part of the avatar"):
        build(good.parent / "tiny.png", stranger.path, recipe=Recipe.from_dict(TINY_RECIPE, "test"), registry=memory_registry())
    assert (stranger.path / name).read_text() == "mine"


def test_a_link_of_the_users_stays(stranger: Stranger) -> None:
    (stranger.path / "notes.txt").write_text("mine")
    (stranger.path / "link").symlink_to("notes.txt")
    stranger.manifest["files"]["link"] = hashlib.sha256(b"mine").hexdigest()
    write_bundle(stranger.write(stranger.manifest), stranger.tensors, {})
    assert (stranger.path / "link").is_symlink() and (stranger.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("listed", [True, False])
def test_a_hidden_neighbor_brings_nothing_over_the_users_files(stranger: Stranger, registry: Registry, listed: bool) -> None:
    hidden = stranger.path.with_name(f".{stranger.path.name}.new")
    shutil.copytree(stranger.path, hidden)
    (hidden / "notes.txt").write_text("evil")
    if listed:
        stranger.manifest["files"]["notes.txt"] = hashlib.sha256(b"evil").hexdigest()
        (hidden / MANIFEST).write_text(json.dumps(stranger.manifest))
    (stranger.path / "notes.txt").write_text("mine")
    read_manifest(stranger.path)
    with pytest.raises(StoreError, match="was not made by avatarkit"):
        recover(stranger.path)
    assert (stranger.path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize("place", ["cache", "work"])
def test_a_workspace_that_is_no_folder_is_said(stranger: Stranger, tmp_path: Path, kind: str, place: str) -> None:
    target = stranger.path / "cache" if place == "cache" else tmp_path / ".new.avatar.work"
    if kind == "file":
        target.write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=f"(is a {kind}|is in the way of the build): "):
        workspace(stranger.path if place == "cache" else tmp_path / "new.avatar")


# -------------------------------------------------------------------------------------------------------------- writing


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    manifest = {"warnings": ["a\x1b[31mred\r\nand more\u202e"], "consent": "yes\x07", "device": "c\x9bpu"}
    path = write_bundle(tmp_path / "x.avatar", {"box": torch.zeros(4)}, manifest)
    read = read_manifest(path)
    assert (read["warnings"], read["consent"], read["device"]) == (["a[31mred\nand more"], "yes", "cpu")


@pytest.mark.parametrize("consent", ["a\x1b[31m", "x" * 30_000])
def test_consent_that_could_not_be_read_back_stops_a_build_at_its_start(tmp_path: Path, consent: str) -> None:
    with pytest.raises(ConfigError, match="The consent must be"):
        build(tmp_path / "x.png", tmp_path / "x.avatar", consent=consent)
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_field(stranger: Stranger) -> None:
    path = stranger.write({**stranger.manifest, "seed": "abc"})
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert str(caught.value) == (
        f"The avatar {path} is damaged: its manifest says seed = 'abc', a whole number is expected. Build it again."
    )
