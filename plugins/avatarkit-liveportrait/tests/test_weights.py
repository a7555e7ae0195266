"""Checkpoints: every form that people have is read, everything else is refused with one sentence."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from avatarkit.errors import AvatarkitError, InputError, MissingWeights
from avatarkit.labelling.checkpoints import read_state
from avatarkit_liveportrait.weights import load_networks

VECTORS = "stitching_retargeting_module.pth"


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def _equal(a, b):
    for name in b:
        state = b[name].state_dict()
        assert all(torch.equal(value, state[key]) for key, value in a[name].state_dict().items())


def test_the_released_form(tiny):
    networks = load_networks(tiny)
    state = torch.load(tiny / "base_models" / "warping_module.pth", weights_only=True)
    assert torch.equal(networks["warping_module"].fourth.weight, state["fourth.weight"])
    for network in networks.values():
        assert not network.training
        for tensor in (*network.parameters(), *network.buffers()):
            assert tensor.device.type == "cpu"
            assert not tensor.requires_grad


def test_flat_safetensors(tiny, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(tiny / "config.json", flat)
    for path in (tiny / "base_models").iterdir():
        save_file(torch.load(path, weights_only=True), flat / f"{path.stem}.safetensors")
    nested = torch.load(tiny / "retargeting_models" / VECTORS, weights_only=True)
    save_file(
        {f"{owner}_{key}": value for owner, state in nested.items() for key, value in state.items()},
        flat / "stitching_retargeting_module.safetensors",
    )
    _equal(load_networks(flat), load_networks(tiny))


def _sentence(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    assert len(text) < 400
    assert text.endswith(".")
    return text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("fc.bias"), "tensors are missing, e.g. fc.bias"),
        (lambda s: s.update(extra=torch.ones(1)), "1 tensors are unknown, e.g. extra"),
        (lambda s: s.update({"fc.bias": torch.ones(7)}), r"fc.bias has the shape \(7,\), not \(8,\)"),
        (lambda s: s.update({"fc.bias": torch.ones(8, dtype=torch.int64)}), "another type"),
        (lambda s: s.update(epoch=3), "more than named tensors"),
    ],
)
def test_checkpoints_that_do_not_fit(change, expected, copy):
    path = copy / "base_models" / "spade_generator.pth"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)
    with pytest.raises(InputError, match=expected) as caught:
        load_networks(copy)
    assert "spade_generator.pth" in _sentence(caught.value)


def test_vector_networks_that_do_not_fit(copy):
    path = copy / "retargeting_models" / VECTORS
    state = torch.load(path, weights_only=True)
    torch.save({**state, "nose": state["retarget_eye"]}, path)
    with pytest.raises(InputError, match="unknown, e.g. nose.module.mlp.0.weight") as caught:
        load_networks(copy)
    _sentence(caught.value)
    torch.save({key: value for key, value in state.items() if key != "retarget_eye"}, path)
    with pytest.raises(InputError, match="network 'eye': 12 of 12 tensors are missing") as caught:
        load_networks(copy)
    _sentence(caught.value)


class _Evil:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self):
        return (Path.touch, (self.victim,))


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle"])
def test_code_in_a_checkpoint_is_not_run(kind, tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "evil.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(_Evil(victim)))
    else:
        torch.save({"x": _Evil(victim)}, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(InputError, match="could run code") as caught:
        read_state(path)
    _sentence(caught.value)
    assert not victim.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"<html>not found</html>", b"version https://git-lfs.github.com/spec/v1\n", b"\x80\x02"],
)
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_files_that_are_no_checkpoints(content, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name) as caught:
        read_state(tmp_path / name)
    _sentence(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_truncated_files(share, copy):
    path = copy / "base_models" / "motion_extractor.pth"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="damaged") as caught:
        load_networks(copy)
    _sentence(caught.value)


def test_incomplete_folders(copy):
    with pytest.raises(MissingWeights, match="nowhere"):
        read_state(copy / "nowhere.pth")
    (copy / "base_models" / "motion_extractor.pth").unlink()
    with pytest.raises(MissingWeights, match=r"no motion_extractor.pth") as caught:
        load_networks(copy)
    _sentence(caught.value)


@pytest.mark.parametrize("content", ["{", "[1]", '{"nose": {}}', '{"lip": {"size": 3}}', '{"lip": 3}'])
def test_broken_settings(content, copy):
    (copy / "config.json").write_text(content)
    with pytest.raises(AvatarkitError) as caught:
        load_networks(copy)
    _sentence(caught.value)
