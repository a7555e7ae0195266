"""Motion in, clip out, through the stand-in checkout in its own process; and everything that can go wrong there."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avatarkit.config.options import make_config
from avatarkit.errors import AvatarkitError, ConfigError, InputError, MissingRequirement, MissingWeights
from avatarkit.interfaces import PseudoLabeler
from avatarkit.types.keypoints import Keypoints
from avatarkit_portrait4d.checkout import sha256_of
from avatarkit_portrait4d.config import Portrait4DConfig
from avatarkit_portrait4d.labeler import Portrait4DLabeler
from avatarkit_portrait4d.runner import resnet34_state


def _jobs(labeler):
    return sorted(labeler.jobs.iterdir()) if labeler.jobs.is_dir() else []


@pytest.fixture
def labeler(config, context):
    return Portrait4DLabeler(config, context)


@pytest.fixture
def fault(checkout):
    """Makes the stand-in fail."""
    return (checkout / "portrait4d" / "fault").write_text


def test_from_motion_to_clip(labeler, person, motion, caplog):
    labeler._config = replace(labeler._config, chunk=3, keep_job=True)
    assert isinstance(labeler, PseudoLabeler)
    with caplog.at_level(logging.WARNING):
        clip = labeler.generate(person, motion, 0)
    assert (clip.region, clip.name, clip.frames.shape) == ("head", "head-tiny", (4, 512, 512, 3))
    assert clip.requested is clip.params
    others = [j for j in range(9) if j != 2]
    assert torch.equal(clip.params.joints[:, others], person.params.joints[others].expand(4, 8, 3))
    (job,) = _jobs(labeler)
    result = json.loads((job / "result.json").read_text())
    digest = sha256_of(labeler._checkout[0].network)
    assert (result["status"], result["network_sha256"]) == ("done", digest)
    assert digest in caplog.text
    assert clip.facts["network_sha256"] == digest
    assert [frame["ok"] for frame in result["frames"]] == [True] * 4
    assert [len(list((job / f"drv_{k:03d}" / "align_images").iterdir())) for k in (0, 1)] == [3, 1]
    # The middle panel is the mean of source and driving picture, in the order of the motion.
    source = np.asarray(Image.open(job / "src/align_images/source.png"), float)
    for number, chunk in enumerate(("drv_000", "drv_000", "drv_000", "drv_001")):
        driving = np.asarray(Image.open(job / chunk / f"align_images/{number:06d}.png"), float)
        assert np.abs(clip.frames[number].numpy() - (source + driving) / 2).mean() < 3
    # The head turns towards the person's left, which is the picture's right.
    turns = [np.load(job / c / f"bfm2flame_params_simplified/{n:06d}.npy")[426] for n, c in ((0, "drv_000"), (3, "drv_001"))]
    assert turns == pytest.approx([0.0, 0.5], abs=1e-3)
    transforms = np.load(job / "transforms.npz")
    assert transforms["drivers"].shape == (4, 3, 3)
    # Where the photo's head is, the crop's camera sees it.
    head = person.params
    center = clip.cameras[0].project(torch.tensor([[0.0, 1.58 - 0.9 - 0.1, -2.6 + 0.09]]))
    assert head.translation[1] == pytest.approx(-0.1)
    assert ((center > 128) & (center < 384)).all()


def test_a_finished_job_leaves_nothing_behind(labeler, person, motion):
    labeler.generate(person, motion, 0)
    assert _jobs(labeler) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("crash:0", "killed by signal 9"),
        ("oom:2", "too little free memory"),
        ("exit:2", "ended with code 3"),
        ("extra:1", "an unexpected file"),
    ],
)
def test_failures_are_told_and_frames_kept(labeler, person, motion, fault, checkout, kind, message):
    fault(kind)
    with pytest.raises(InputError) as caught:
        labeler.generate(person, motion, 0)
    text = str(caught.value)
    assert message in text
    assert "\n" not in text
    (job,) = _jobs(labeler)
    assert str(job) in text or "extra" in kind
    result = json.loads((job / "result.json").read_text())
    assert result["status"] == "failed"
    # The next try makes only what is missing.
    kept = sum(frame["ok"] for frame in result["frames"])
    (checkout / "portrait4d" / "fault").unlink()
    labeler._config = replace(labeler._config, keep_job=True)
    assert len(labeler.generate(person, motion, 0)) == 4
    made = len(list((job / "drv_000" / "align_images").iterdir()))
    assert made == 4 - kept
    assert kept == {"extra:1": 0, "crash:0": 0}.get(kind, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["crash:2:once", "cut:1:once", "small:3:once", "skip:0:once"])
def test_what_may_pass_is_tried_again(labeler, person, motion, fault, kind):
    fault(kind)
    clip = labeler.generate(person, motion, 0)
    assert len(clip) == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut:1", "skip:1", "small:1"])
def test_silent_failures_are_found_in_the_files(labeler, person, motion, fault, kind):
    fault(kind)
    labeler._config = replace(labeler._config, chunk=2)
    clip = labeler.generate(person, motion, 0)
    # In both chunks the second frame fails; alone, it is the first of its chunk, and succeeds.
    assert len(clip) == 4
    fault(kind.replace("1", "0"))
    with pytest.raises(InputError, match="and so do all others"):
        labeler.generate(person, replace(motion, params=motion.params[:1]), 0)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "message"), [("hang:0", "did not begin within"), ("stall:1", "made no further frame within")])
def test_a_child_that_hangs_is_ended_with_all_its_children(labeler, person, motion, fault, checkout, kind, message):
    fault(kind)
    labeler._config = replace(labeler._config, startup_seconds=8 if kind == "hang:0" else 60, frame_seconds=1)
    with pytest.raises(InputError, match=message):
        labeler.generate(person, motion, 0)
    child = int((checkout / "portrait4d" / "child").read_text())
    for _ in range(50):
        if not _alive(child):
            break
        time.sleep(0.1)
    assert not _alive(child)


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if os.path.isdir("/proc") else not os.kill(pid, 0)
    except (OSError, IndexError):
        return False


def test_a_child_that_writes_without_end_is_ended(labeler, person, motion, fault, monkeypatch):
    fault("garbage:0")
    monkeypatch.setattr("avatarkit_portrait4d.process.LARGEST_LOG", 2**20)
    with pytest.raises(InputError, match="writes without end"):
        labeler.generate(person, motion, 0)


def test_the_official_preparation(labeler, person, motion, monkeypatch, caplog):
    """It stops at a frame without a face and says nothing: that frame is left out, the others are not."""
    labeler._config = replace(labeler._config, preparation="official")
    draw = labeler._drivers

    def one_is_gray(*arguments):
        pictures, faces, transforms = draw(*arguments)
        pictures[1] = np.full_like(pictures[1], 128)
        return pictures, faces, transforms

    monkeypatch.setattr(labeler, "_drivers", one_is_gray)
    with caplog.at_level(logging.WARNING):
        clip = labeler.generate(person, motion, 0)
    assert len(clip) == 3
    assert "no face in frame 1" in caplog.text
    (job,) = _jobs(labeler)  # kept, because a frame is missing
    frames = json.loads((job / "result.json").read_text())["frames"]
    assert [frame["reason"] for frame in frames] == ["", "has no face", "", ""]


@pytest.mark.slow
def test_the_official_preparation_without_any_face(labeler, person, motion, monkeypatch):
    labeler._config = replace(labeler._config, preparation="official")
    gray = replace(person, photo=replace(person.photo, image=torch.full_like(person.photo.image, 0.5)))
    with pytest.raises(InputError, match="found no face in the photo"):
        labeler.generate(gray, motion, 0)
    draw = labeler._drivers
    monkeypatch.setattr(labeler, "_drivers", lambda *a: ([p * 0 for p in draw(*a)[0]], *draw(*a)[1:]))
    with pytest.raises(InputError, match="found no face in 3 frames on end"):
        labeler.generate(person, motion, 0)


# ------------------------------------------------------------------------------------------------------------- preflight


def test_nothing_is_loaded_without_the_switch(config):
    (problem,) = replace(config, allow_pickle=False).preflight()
    assert "runs the code that it holds" in problem
    assert "--set head_labels.allow_pickle=true" in problem
    assert config.preflight() == []


def test_what_is_missing_is_named(config, checkout, context, tmp_path, monkeypatch):
    monkeypatch.setenv("AVATARKIT_CACHE", str(tmp_path / "empty"))
    for change, error, message in (
        ({"checkout": None}, MissingWeights, "avatarkit weights add portrait4d FOLDER"),
        ({"checkout": tmp_path}, MissingWeights, "is no checkout"),
        ({"network": "other.pkl"}, MissingWeights, "there is no .*other.pkl; it comes from huggingface.co"),
        ({"python": tmp_path / "python"}, MissingRequirement, "There is no Python"),
        ({"python": None}, MissingRequirement, "needs the Python of its own environment"),
    ):
        with pytest.raises(error, match=message):
            Portrait4DLabeler(replace(config, **change), context)._opened()
        assert len(replace(config, **change).preflight()) == 1
    (checkout / "portrait4d/models/FLAME/geometry/generic_model.pkl").unlink()
    assert "generic_model.pkl; it comes from flame.is.tue.mpg.de" in config.preflight()[0]
    (checkout / "data_preprocess/assets/hrnet_w18_wflw/h3r/model.pth").unlink()
    (checkout / "portrait4d/models/FLAME/geometry/generic_model.pkl").write_bytes(b"")
    assert config.preflight() == []
    assert "h3r" in replace(config, preparation="official").preflight()[0]


def test_another_checkpoint_than_the_one_that_is_asked_for(config, context, person, motion):
    labeler = Portrait4DLabeler(replace(config, sha256="0" * 64), context)
    with pytest.raises(InputError, match="its sha256 is"):
        labeler.generate(person, motion, 0)
    assert make_config(Portrait4DConfig, {"allow_pickle": True}, owner="x").allow_pickle


def test_a_python_that_cannot_be_started(config, context, person, motion, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("no program")
    broken.chmod(0o755)
    with pytest.raises(AvatarkitError, match="cannot be started"):
        Portrait4DLabeler(replace(config, python=broken), context).generate(person, motion, 0)


def test_photos_without_a_face_are_refused(labeler, person, motion):
    with pytest.raises(InputError, match="needs a face"):
        labeler.generate(replace(person, keypoints=Keypoints(128, 128, {}, {})), motion, 0)


@pytest.mark.parametrize("options", [{"sha256": "abc"}, {"chunk": 0}, {"frame_seconds": 0.0}, {"preparation": "no"}])
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        make_config(Portrait4DConfig, options, owner="labels 'portrait4d'")


def test_the_stand_in_for_pretrained_weights_has_resnets_shapes():
    state = resnet34_state()
    assert len(state) == 218
    assert sum(v.numel() for v in state.values() if v.is_floating_point()) == 21797672 + 17024
    assert state["layer4.0.downsample.0.weight"].shape == (512, 256, 1, 1)


@pytest.mark.slow
def test_the_child_gets_a_clean_environment(labeler, person, motion, checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    monkeypatch.setenv("https_proxy", "http://nowhere")
    script = checkout / "portrait4d" / "gen_images_portrait4d.py"
    note = "import os, json; json.dump(dict(os.environ), open('environ.json', 'w'))\n"
    text = script.read_text()
    script.write_text(text.replace('import argparse\n', 'import argparse\n' + note, 1))
    labeler._config = replace(labeler._config, gpu="3")
    labeler.generate(person, motion, 0)
    environ = json.loads((checkout / "portrait4d" / "environ.json").read_text())
    assert environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert environ["PYTHONNOUSERSITE"] == "1"
    assert not {"PYTHONPATH", "https_proxy"} & set(environ)
    assert sys.executable
