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
from avatarkit_mimicmotion.weights import load_networks


@pytest.fixture(scope="module")
def state(tiny) -> dict[str, torch.Tensor]:
    return torch.load(tiny[0], weights_only=True)


def test_the_released_form(tiny, state):
    networks = load_networks(*tiny)
    assert torch.equal(networks.unet.conv_in.weight, state["unet.conv_in.weight"])
    assert torch.equal(networks.pose_net.scale, state["pose_net.scale"])
    for network in vars(networks).values():
        assert not network.training
        for tensor in (*network.parameters(), *network.buffers()):
            assert tensor.device.type == "cpu"
            assert not tensor.requires_grad


def test_half_precision(tiny):
    networks = load_networks(*tiny, dtype=torch.float16)
    assert {p.dtype for network in vars(networks).values() for p in network.parameters()} == {torch.float16}


def test_other_forms(tiny, state, tmp_path):
    expected = load_networks(*tiny)
    save_file(state, tmp_path / "all.safetensors")
    bare = {k.removeprefix("unet."): v for k, v in state.items() if k.startswith("unet.")}
    save_file(bare, tmp_path / "unet.safetensors")
    save_file(
        {k.removeprefix("pose_net."): v for k, v in state.items() if "pose_net" in k}, tmp_path / "pose.safetensors"
    )
    for networks in (
        load_networks(tmp_path / "all.safetensors", tiny[1]),
        load_networks(tmp_path / "unet.safetensors", tiny[1], tmp_path / "pose.safetensors"),
    ):
        for name in ("unet", "pose_net"):
            for a, b in zip(getattr(networks, name).parameters(), getattr(expected, name).parameters(), strict=True):
                assert torch.equal(a, b)
    with pytest.raises(MissingWeights, match="pose_net"):
        load_networks(tmp_path / "unet.safetensors", tiny[1])


def _sentence(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    assert len(text) < 400
    assert text.endswith(".")
    return text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("unet.conv_in.bias"), "1 of 424 tensors are missing, e.g. conv_in.bias"),
        (lambda s: s.pop("pose_net.scale"), "1 of 19 tensors are missing, e.g. scale"),
        (lambda s: s.update({"unet.extra": torch.ones(1)}), "1 tensors are unknown, e.g. extra"),
        (lambda s: s.update({"unet.conv_in.bias": torch.ones(7)}), r"conv_in.bias has the shape \(7,\), not \(32,\)"),
        (lambda s: s.update({"unet.conv_in.bias": torch.ones(32, dtype=torch.int64)}), "another type"),
        (lambda s: s.update({"epoch": 3}), "more than named tensors"),
    ],
)
def test_checkpoints_that_do_not_fit(change, expected, tiny, state, tmp_path):
    changed = dict(state)
    change(changed)
    torch.save(changed, tmp_path / "wrong.pth")
    with pytest.raises(InputError, match=expected) as caught:
        load_networks(tmp_path / "wrong.pth", tiny[1])
    assert "wrong.pth" in _sentence(caught.value)


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
        torch.save({"unet.x": _Evil(victim)}, path, _use_new_zipfile_serialization=kind == "zip")
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
def test_truncated_files(share, tiny, tmp_path):
    for source in (tiny[0], tiny[1] / "vae" / "diffusion_pytorch_model.fp16.safetensors"):
        content = source.read_bytes()
        cut = tmp_path / source.name
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match="damaged") as caught:
            read_state(cut)
        _sentence(caught.value)


def test_incomplete_base_models(tiny, tmp_path):
    with pytest.raises(MissingWeights, match="nowhere"):
        load_networks(tmp_path / "nowhere.pth", tiny[1])
    for lost in (
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "image_encoder/model.fp16.safetensors",
    ):
        base = tmp_path / lost.replace("/", "-")
        shutil.copytree(tiny[1], base)
        (base / lost).unlink()
        with pytest.raises(MissingWeights, match="incomplete") as caught:
            load_networks(tiny[0], base)
        _sentence(caught.value)
    for broken in ("vae/config.json", "unet/config.json", "image_encoder/config.json"):
        for content in ("{", "[1]", '{"nonsense": 3, "block_out_channels": 5, "hidden_size": "x"}'):
            base = tmp_path / "broken"
            shutil.rmtree(base, ignore_errors=True)
            shutil.copytree(tiny[1], base)
            (base / broken).write_text(content)
            with pytest.raises(AvatarkitError) as caught_any:
                load_networks(tiny[0], base)
            _sentence(caught_any.value)
