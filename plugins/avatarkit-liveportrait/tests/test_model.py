"""Networks: keys and shapes of the released checkpoints, numbers of the authors' code."""

from __future__ import annotations

import json

import pytest
import torch

from avatarkit.errors import ConfigError
from avatarkit_liveportrait.model import RELEASED, build_networks

INPUTS = {"warping_module": ("feature_3d", "kp_driving", "kp_source"), "spade_generator": ("feature",)}
TOLERANCES = {
    "appearance_feature_extractor": {"atol": 1e-4, "rtol": 1e-3},
    "motion_extractor": {"atol": 1e-5, "rtol": 1e-4},
    "warping_module": {"atol": 1e-4, "rtol": 1e-3},
    "spade_generator": {"atol": 2e-5, "rtol": 2e-4},
}


def test_full_size_keys_and_shapes_are_the_released_ones(golden):
    wanted = json.loads((golden / "checkpoint_keys.json").read_text())
    with torch.device("meta"):
        networks = build_networks({})
    assert list(networks) == list(wanted) == list(RELEASED)
    for name, network in networks.items():
        entries = [(k, list(v.shape), str(v.dtype).removeprefix("torch.")) for k, v in network.state_dict().items()]
        assert entries == [(k, shape, dtype.removeprefix("torch.")) for k, (shape, dtype) in wanted[name].items()]


def _compare(name, network, data):
    found = network(*(data[f"in/{key}"] for key in INPUTS.get(name, ("image",))))
    if name in ("appearance_feature_extractor", "spade_generator"):
        found = {"feature_3d": found, "image": found}
    wanted = {key.removeprefix("out/"): value for key, value in data.items() if key.startswith("out/")}
    assert wanted
    for key, value in wanted.items():
        out = found[key]
        if out.shape != value.shape:  # stored thinned
            out = out[:, ::4] if key == "out" else out[:, :, ::4, ::4, ::4]
        torch.testing.assert_close(out, value, **TOLERANCES[name])


@pytest.mark.parametrize("name", TOLERANCES)
@torch.no_grad()
def test_small_networks_equal_the_original(name, load_golden, recipe):
    data, meta = load_golden(f"small_{name}")
    network = build_networks({name: json.loads(meta["config"])})[name]
    network.load_state_dict(recipe(network, int(meta["seed"])))
    _compare(name, network, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", TOLERANCES)
@torch.no_grad()
def test_full_size_networks_equal_the_original(name, load_golden, recipe):
    data, meta = load_golden(f"full_{name}")
    if name == "warping_module":
        halves = [load_golden(f"full_{name}_input_{part}")[0][f"in/feature_3d_{part}"] for part in ("first", "last")]
        data["in/feature_3d"] = torch.cat(halves, 1)
    network = build_networks({})[name]
    network.load_state_dict(recipe(network, int(meta["seed"])))
    _compare(name, network, data)


def test_the_generator_has_the_keys_of_the_original_without_upscaling():
    with torch.device("meta"):
        generator = build_networks({"spade_generator": {"upscale": 1, "out_channels": 32}})["spade_generator"]
    state = {key: tuple(value.shape) for key, value in generator.state_dict().items()}
    assert (state["conv_img.weight"], state["conv_img.bias"]) == ((3, 32, 3, 3), (3,))
    assert "conv_img.0.weight" not in state


@torch.no_grad()
def test_vector_networks_equal_the_original(load_golden, recipe):
    data, meta = load_golden("vector_networks")
    networks = build_networks({})
    for name, seed in json.loads(meta["seed"]).items():
        networks[name].load_state_dict(recipe(networks[name], seed))
        torch.testing.assert_close(networks[name](data[f"in/{name}_x"]), data[f"out/{name}_y"], atol=1e-5, rtol=1e-4)


def test_configurations_are_checked():
    with torch.device("meta"):
        with pytest.raises(ConfigError, match="no network 'nose'"):
            build_networks({"nose": {}})
        with pytest.raises(ConfigError, match="motion_extractor.*fit together"):
            build_networks({"motion_extractor": {"layers": 3}})
        with pytest.raises(ConfigError, match="motion_extractor.*fit together"):
            build_networks({"motion_extractor": {"depths": [1]}})
        with pytest.raises(ConfigError, match="occlusion"):
            build_networks({"warping_module": {"estimate_occlusion_map": False}})
