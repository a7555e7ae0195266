from pathlib import Path

import numpy as np
import pytest
import torch

import avatarkit_birefnet
from avatarkit.errors import ConfigError, InputError, MissingWeights
from avatarkit.interfaces import Context
from avatarkit.types.keypoints import Keypoints
from avatarkit.types.photo import Photo
from avatarkit_birefnet.config import BiRefNetConfig
from avatarkit_birefnet.matting import BiRefNetMatte, foreground_colors

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def network(path: Path, *, logits: bool = True, side: int | str = 256, half: bool = False, channels: int = 3) -> Path:
    """Takes red for people: a network of BiRefNet's inputs and outputs, with a coarse output before the last one."""
    TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    number = np.float16 if half else np.float32
    kernel = np.zeros((1, channels, 1, 1), number)
    kernel[0, 0] = 8 * 0.229  # undoes the scaling by ImageNet's spread
    bias = np.array([8 * (0.485 - 0.6)], number)  # red of 0.6 is half way
    nodes = [helper.make_node("Conv", ["input_image", "kernel", "bias"], ["raw" if not logits else "output_image"])]
    if not logits:
        nodes.append(helper.make_node("Sigmoid", ["raw"], ["output_image"]))
    nodes.append(helper.make_node("ReduceMean", ["output_image"], ["coarse"], axes=[2, 3]))
    image = helper.make_tensor_value_info("input_image", kind, [1, channels, side, side])
    outs = [helper.make_tensor_value_info("coarse", kind, None), helper.make_tensor_value_info("output_image", kind, None)]
    stored = [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")]
    graph = helper.make_graph(nodes, "tiny", [image], outs, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path


def photo(*discs: tuple[int, int, int], alpha: torch.Tensor | None = None) -> tuple[Photo, np.ndarray]:
    """Red discs on blue, blurred borders; and their true alpha."""
    y, x = np.mgrid[:240, :320] + 0.5
    true = np.zeros((240, 320), np.float32)
    for cx, cy, r in discs:
        true = np.maximum(true, np.clip((r - np.hypot(x - cx, y - cy)) / 6 + 0.5, 0, 1).astype(np.float32))
    image = true[..., None] * np.array([1.0, 0.1, 0.1]) + (1 - true[..., None]) * np.array([0.1, 0.2, 0.9])
    return Photo(torch.from_numpy(image.astype(np.float32)), alpha, "0" * 64, "a.png"), true


def points(x: float, y: float, box: tuple[float, float, float, float], count: int = 2) -> Keypoints:
    return Keypoints(
        320, 240, {"pose33": np.full((33, 2), (x, y), np.float32)}, {"pose33": np.ones(33, np.float32)}, {}, box, count
    )


def matting(tmp_path: Path, **kind) -> BiRefNetMatte:
    return BiRefNetMatte(BiRefNetConfig(network=str(network(tmp_path / "n.onnx", **kind)), side=256), Context())


@pytest.mark.parametrize("kind", [{}, {"logits": False}, {"side": "side"}, {"half": True}])
def test_the_person_is_cut_out_whatever_the_export(kind, tmp_path):
    picture, true = photo((160, 120, 70))
    found = matting(tmp_path, **kind).matte(picture)
    assert found.alpha.shape == (240, 320)
    assert found.foreground.shape == (240, 320, 3)
    solid = found.alpha.numpy() > 0.5
    assert (solid & (true > 0.5)).sum() / (solid | (true > 0.5)).sum() > 0.97
    assert found.alpha[120, 160] > 0.9
    assert found.alpha[5, 5] < 0.05


def test_only_the_chosen_person_stays(tmp_path):
    cut = matting(tmp_path)
    picture, _ = photo((80, 120, 50), (240, 120, 60))
    left = cut.matte(picture, points(80, 120, (30, 70, 130, 170))).alpha
    assert left[120, 80] > 0.9
    assert left[120, 240] < 0.05
    largest = cut.matte(picture).alpha
    assert largest[120, 240] > 0.9 > 0.05 > largest[120, 80]


def test_colors_under_soft_edges_are_the_persons():
    picture, true = photo((160, 120, 70))
    colors = foreground_colors(picture.image.numpy(), true)
    edge = (true > 0.2) & (true < 0.8)
    assert np.abs(picture.image.numpy()[edge] - (1, 0.1, 0.1)).max() > 0.6
    assert np.abs(colors[edge] - (1, 0.1, 0.1)).max() < 0.12


def test_a_matte_of_the_files_own_is_kept_where_it_shows_the_person(tmp_path, caplog):
    cut = matting(tmp_path)
    _, true = photo((160, 120, 66))
    own, _ = photo((160, 120, 70), alpha=torch.from_numpy(true))
    assert torch.equal(cut.matte(own).alpha, torch.from_numpy(true))
    wrong, _ = photo((160, 120, 70), alpha=torch.ones(240, 320))
    assert cut.matte(wrong).alpha[0, 0] < 0.05
    assert "not used" in caplog.text


def test_nobody_and_files_that_cannot_be_used(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="No person could be cut out"):
        matting(tmp_path).matte(photo()[0])
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path))
    with pytest.raises(MissingWeights, match="avatarkit weights add birefnet"):
        BiRefNetMatte(BiRefNetConfig(), Context())
    with pytest.raises(MissingWeights, match="There is no file"):
        BiRefNetMatte(BiRefNetConfig(network="none.onnx"), Context())
    (tmp_path / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(InputError, match=r"bad\.onnx is no ONNX file"):
        BiRefNetMatte(BiRefNetConfig(network=str(tmp_path / "bad.onnx")), Context())
    with pytest.raises(InputError, match="another network than BiRefNet"):
        matting(tmp_path, channels=4)
    with pytest.raises(ConfigError, match="multiple of 32"):
        BiRefNetConfig(side=1000)


def test_it_registers_its_weights():
    told = {}
    avatarkit_birefnet.register_matting_models(lambda name, **rest: told.update({name: rest}))
    assert told["birefnet"]["needs"].weights == ("birefnet",)
