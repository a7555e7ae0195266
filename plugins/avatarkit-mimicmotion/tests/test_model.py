"""Networks: keys and shapes of the released checkpoint, numbers of the authors' code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel

from avatarkit.errors import ConfigError
from avatarkit_mimicmotion.model import RELEASED_UNET, build_pose_net, build_unet

INPUTS = ("sample", "timestep", "encoder_hidden_states", "added_time_ids")


def test_full_size_keys_and_shapes_are_the_released_ones(golden):
    wanted = json.loads((golden / "checkpoint_keys.json").read_text())["modules"]
    with torch.device("meta"):
        networks = {"unet": build_unet({}), "pose_net": build_pose_net({})}
    for name, network in networks.items():
        shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
        assert shapes == {key: shape for key, (shape, _) in wanted[name].items()}


def test_head_counts_are_the_base_models_not_the_librarys():
    with torch.device("meta"):
        unet = build_unet({})
    assert unet.config.num_attention_heads == [5, 10, 20, 20]
    assert unet.down_blocks[2].attentions[0].transformer_blocks[0].attn1.heads == 20


@pytest.mark.parametrize("name", ["unet_tiny2", "unet_tiny4"])
@torch.no_grad()
def test_video_network_equals_the_original(name, load_golden, recipe, digest):
    data, meta = load_golden(name)
    unet = build_unet(json.loads(meta["unet_config"])).eval()
    state = recipe(unet, "unet")
    assert digest(state) == meta["weights_sha256"]
    unet.load_state_dict(state)
    inputs, pose = [data[f"in.{key}"] for key in INPUTS], data["in.pose_latents"]
    for out, arguments in (("pose", (pose,)), ("nopose", ()), ("image_only", (pose, True))):
        torch.testing.assert_close(unet(*inputs, *arguments), data[f"out.{out}"], rtol=0, atol=1e-5)
    unet.double()
    inputs, pose = [x.double() for x in inputs], pose.double()
    # Sinusoids stay float32, and the last bit of their exponentials differs between makes of CPU: hence no 1e-12 here, but
    # in ``test_float64_equals_the_original_to_the_last_digits`` ...
    torch.testing.assert_close(unet(*inputs, pose), data["out64.pose"], rtol=0, atol=1e-8)
    stock = UNetSpatioTemporalConditionModel(**json.loads(meta["unet_config"])).double().eval()
    stock.load_state_dict(unet.state_dict())
    # ... and here.
    torch.testing.assert_close(unet(*inputs), stock(*inputs).sample, rtol=0, atol=1e-12)
    stock.conv_in.register_forward_hook(lambda module, arguments, x: x + pose)
    torch.testing.assert_close(unet(*inputs, pose), stock(*inputs).sample, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="MKL's code for all makes of CPU is asked for")
def test_float64_equals_the_original_to_the_last_digits(golden):
    """With the exponentials that MKL computes on every CPU; on its own it takes others, by one bit, on some."""
    program = """
        import importlib.util, json, sys
        import torch
        from safetensors import safe_open
        from safetensors.torch import load_file
        from avatarkit_mimicmotion.model import build_unet

        spec = importlib.util.spec_from_file_location("recipes", sys.argv[1])
        recipes = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(recipes)
        for path in sys.argv[2:]:
            with safe_open(path, "pt") as file:
                config = json.loads(file.metadata()["unet_config"])
            data, unet = load_file(path), build_unet(config).eval()
            unet.load_state_dict(recipes.random_state(unet, "unet"))
            unet.double()
            names = ("sample", "timestep", "encoder_hidden_states", "added_time_ids")
            inputs = [data[f"in.{name}"].double() for name in names]
            with torch.no_grad():
                for out, pose in (("pose", data["in.pose_latents"].double()), ("nopose", None)):
                    print(float((unet(*inputs, pose) - data[f"out64.{out}"]).abs().max()))
    """
    files = [golden / f"{name}.safetensors" for name in ("unet_tiny2", "unet_tiny4")]
    command = [sys.executable, "-c", textwrap.dedent(program), Path(__file__).parent / "conftest.py", *files]
    environment = {**os.environ, "MKL_CBWR": "COMPATIBLE"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    differences = [float(line) for line in run.stdout.split()]
    assert len(differences) == 4
    assert max(differences) <= 1e-12


@torch.no_grad()
def test_pose_network_equals_the_original(load_golden, recipe, digest):
    data, meta = load_golden("pose_net_full")
    net = build_pose_net({"noise_latent_channels": int(meta["noise_latent_channels"])})
    net.load_state_dict(recipe(net, "pose_net"))
    pixels = data["in.pose_pixels_uint8"].float() / 127.5 - 1
    torch.testing.assert_close(net(pixels), data["out"], rtol=0, atol=1e-5)
    torch.testing.assert_close(net(pixels[None]), net(pixels), rtol=0, atol=0)


def test_configurations_are_checked():
    with pytest.raises(ConfigError, match="head_counts"):
        build_unet({"head_counts": [1]})
    with pytest.raises(ConfigError, match="fit together"):
        build_unet({"num_attention_heads": [1, 2]})
    with pytest.raises(ConfigError, match="channels"):
        build_pose_net({"channels": 320})
    with torch.device("meta"):
        assert build_unet({"_class_name": "x", **RELEASED_UNET}).num_upsamplers == 3


def test_latents_that_cannot_be_halved_are_refused(load_golden):
    data, meta = load_golden("unet_tiny2")
    unet = build_unet(json.loads(meta["unet_config"]))
    sample = data["in.sample"][..., :7]
    with pytest.raises(ValueError, match="no multiple"):
        unet(sample, *(data[f"in.{key}"] for key in INPUTS[1:]))
