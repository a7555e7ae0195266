"""The optimization loop: it learns, and an interruption changes nothing."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

import pytest
import torch

from avatarkit.config.sections import TrainingConfig
from avatarkit.errors import MissingDependency, PluginError
from avatarkit.interfaces import ParameterGroup, Posed, TrainStep
from avatarkit.storage.serialization import load_clip, load_motions, load_subject, save_clip, save_motions, save_subject
from avatarkit.testing import ReferenceRenderer, tiny_context, tiny_motion, tiny_subject
from avatarkit.training import loop
from avatarkit.training.callbacks import TensorBoardLogger, TrainingCallback
from avatarkit.training.loop import LossTerm, applicable, learning_rate_factor, train
from avatarkit.training.views import label_view, photo_views
from avatarkit.types.gaussians import Gaussians
from avatarkit.types.pseudo_labels import LabelClip
from avatarkit.utils.threads import Workers


class Blob:
    """The least avatar there is: Gaussians on the vertices of the body."""

    def __init__(self, context):
        self.body = context.get("body")

    def create(self, subject, labels):
        self.colors = torch.full((len(self.body.skinning_weights), 3), 0.5, requires_grad=True)

    def pose(self, params):
        means = self.body.vertices(params)[0]
        ones = torch.ones(len(means))
        return Posed(Gaussians(means, 0.03 * ones, self.colors, ones))

    def parameter_groups(self):
        return [ParameterGroup("color", (self.colors,), 0.05)]

    def state(self):
        return {"colors": self.colors.detach().clone()}


def rgb(step: TrainStep) -> torch.Tensor:
    return ((step.rendering.rgb - step.target).abs().mean(-1) * step.confidence * step.alpha).mean()


@pytest.fixture(scope="module")
def subject():
    return tiny_subject(size=48)


def _clip(subject, region="body") -> LabelClip:
    motion = tiny_motion()
    params = replace(motion.params, translation=motion.params.translation + subject.params.translation)
    gray = torch.full((len(motion), 48, 48, 3), 40, dtype=torch.uint8)
    full = torch.full((len(motion), 48, 48), 255, dtype=torch.uint8)
    return LabelClip("swing", region, gray, full, full, params, params, (subject.camera,) * len(motion))


def _train(subject, steps, checkpoints=None, labels=(), total=None, on=("photo", "body")):
    avatar = Blob(tiny_context())
    avatar.create(subject, [])
    config = TrainingConfig(steps=total or steps, checkpoint_every=3, resolution=32)
    terms = [LossTerm("rgb", rgb, 1.0, 0, on), LossTerm("a second", rgb, 0.1, 0, on)]
    if total:
        calls = []

        def stop(message, fraction):
            calls.append(message)
            if len(calls) == steps:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(avatar, subject, labels, terms, config, ReferenceRenderer(), 0, checkpoints, stop)
        return avatar, None
    report = train(avatar, subject, labels, terms, config, ReferenceRenderer(), 0, checkpoints)
    return avatar, report


def test_it_learns_the_photo(subject):
    _, report = _train(subject, 16)
    curve = [v for _, v in report.curves["rgb"]]
    assert report.steps == 16 and curve[-1] < 0.7 * curve[0]


def test_an_interrupted_training_gives_the_same_avatar_bit_for_bit(subject, tmp_path):
    labels = [_clip(subject)]
    whole, uninterrupted = _train(subject, 8, tmp_path / "a", labels)
    _train(subject, 5, tmp_path / "b", labels, total=8)
    assert (tmp_path / "b" / "checkpoint.safetensors").is_file()
    resumed, report = _train(subject, 8, tmp_path / "b", labels)
    assert torch.equal(whole.colors, resumed.colors)
    assert json.dumps(asdict(report)) == json.dumps(asdict(uninterrupted))  # the order of the curves, too
    assert report.steps == 8


def _with_views(subject, terms, views=4, steps=6):
    avatar, seen = Blob(tiny_context()), Recording()
    avatar.create(subject, [])
    config = TrainingConfig(steps=steps, views=views, resolution=32, photo_share=0.5)
    train(avatar, subject, [_clip(subject)], terms, config, ReferenceRenderer(), 0, callbacks=(seen,))
    return avatar, seen


def test_views_of_a_step_hold_the_shares_and_the_number_of_threads_changes_no_bit(subject, monkeypatch):
    colors = []
    for threads in (1, 2, 16):
        monkeypatch.setattr(loop, "shared_workers", lambda workers=Workers(threads): workers)
        avatar, seen = _with_views(subject, [LossTerm("rgb", rgb, 1.0, 0, ("photo", "body"))])
        assert [kind for _, kind, *_ in seen.steps] == ["photo+photo+body+body"] * 6
        colors.append(avatar.colors)
    assert torch.equal(colors[0], colors[1]) and torch.equal(colors[0], colors[2])


def test_steps_are_those_of_torchs_adam_bit_for_bit():
    draw = torch.Generator().manual_seed(0)
    starts = [torch.rand(shape, generator=draw) for shape in ((40, 3), (40,), (7, 3))]
    ours, theirs = ([t.clone().requires_grad_() for t in starts] for _ in range(2))
    groups = [ParameterGroup("a", tuple(ours[:2]), 0.05), ParameterGroup("b", tuple(ours[2:]), 0.003)]
    optimizer = loop._Adam(groups, 1e-15)
    reference = torch.optim.Adam([{"params": theirs[:2]}, {"params": theirs[2:]}], eps=1e-15, fused=True)
    for step in range(5):
        gradients = [[torch.randn(t.shape, generator=draw) for _ in range(2)] for t in ours]
        if step == 2:
            gradients[1] = []  # what no view shows stays
        for tensor, found in zip(theirs, gradients, strict=True):
            tensor.grad = found[0] + found[1] if found else None
        for group, rate in zip(reference.param_groups, (0.05, 0.003), strict=True):
            group["lr"] = rate * 0.5**step
        reference.step()
        optimizer.step(gradients, 0.5**step)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("photo", "body", "falls"), [(3.0, -1.0, True), (1.0, -3.0, False)])
def test_a_step_follows_the_mean_over_its_views(subject, photo, body, falls):
    def pull(step):
        return {"photo": photo, "body": body}[step.kind] * step.avatar.colors.mean()

    avatar, seen = _with_views(subject, [LossTerm("pull", pull, 1.0, 0, ("photo", "body"))], steps=1)
    assert bool((avatar.colors < 0.5).all()) == falls and bool((avatar.colors > 0.5).all()) != falls
    assert seen.steps[0][2]["pull"] == pytest.approx(0.5 * (photo + body) / 2)


@pytest.mark.parametrize("on", [("photo", "body"), ("photo",)])
def test_terms_of_the_avatar_alone_are_computed_once_and_weigh_the_same(subject, on):
    class Gray:
        def __init__(self, of_avatar):
            self.of_avatar, self.calls = of_avatar, 0

        def __call__(self, step):
            self.calls += 1
            return (step.avatar.colors - 0.3).square().mean()

    results = []
    for gray in (Gray(True), Gray(False)):
        terms = [LossTerm("rgb", rgb, 1.0, 0, ("photo", "body")), LossTerm("gray", gray, 0.01, 0, on)]
        results.append((*_with_views(subject, terms), gray.calls))
    (once, seen, calls), (each, same, more) = results
    assert calls == 6 and more == 12 * len(on)
    assert torch.allclose(once.colors, each.colors, atol=1e-4) and not (once.colors == 0.5).all()
    for a, b in zip(seen.steps, same.steps, strict=True):
        assert a[2] == pytest.approx(b[2], rel=1e-3)


@pytest.mark.parametrize(("solves", "expected"), [(0, []), (1, [10]), (2, [0, 10]), (3, [0, 5, 10])])
def test_colors_are_solved_evenly_over_the_training(subject, solves, expected):
    class Solving(Blob):
        def solve_colors(self, targets, iterations):
            assert sum(float(t.weight.sum()) for t in targets) == pytest.approx(1)
            done.append(steps[-1] + 1 if steps else 0)

        def pose(self, params):
            steps.append(len(steps))
            return super().pose(params)

    done: list[int] = []
    steps: list[int] = []
    avatar = Solving(tiny_context())
    avatar.create(subject, [])
    config = TrainingConfig(steps=10, resolution=48, color_solves=solves)
    train(avatar, subject, [], [LossTerm("rgb", rgb, 1.0)], config, ReferenceRenderer(), 0)
    assert done == expected


def test_a_damaged_checkpoint_starts_again(subject, tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"not a checkpoint")
    fresh, _ = _train(subject, 3)
    again, _ = _train(subject, 3, tmp_path)
    assert torch.equal(fresh.colors, again.colors)


def test_labels_without_confidence_teach_nothing(subject):
    clip = _clip(subject)
    blind = replace(clip, confidence=torch.zeros_like(clip.confidence))
    avatar, _ = _train(subject, 6, labels=[blind], on=("body",))
    assert (avatar.colors == 0.5).all()


def test_losses_of_another_avatar_are_left_out_and_said(caplog):
    class Choosy:
        def applies_to(self, avatar):
            return avatar == "mine"

    terms = [LossTerm("any", lambda step: torch.zeros(()), 1.0), LossTerm("choosy", Choosy(), 1.0)]
    assert [t.name for t in applicable(terms, "mine")] == ["any", "choosy"] and not caplog.messages
    assert [t.name for t in applicable(terms, "yours")] == ["any"] and "choosy" in caplog.text


def test_views_show_the_photo_at_the_asked_size_and_details_lie_inside(subject):
    views = photo_views(subject, 24)
    assert views.full.image.shape == (24, 24, 3) and views.full.camera.width == 24
    vertex = tiny_context().get("body").vertices(subject.params)[0]
    assert torch.allclose(views.full.camera.project(vertex) * 2, subject.camera.project(vertex), atol=1e-3)


def test_view_of_a_label_is_its_frame(subject):
    view = label_view(_clip(subject, "head"), 2)
    assert view.kind == "head" and view.image[0, 0, 0] == pytest.approx(40 / 255)
    assert view.params.batch_shape == ()


def test_values_survive_the_disk(subject, tmp_path):
    save_subject(subject, tmp_path)
    back = load_subject(tmp_path)
    assert torch.equal(back.photo.image, subject.photo.image) and torch.equal(back.params.joints, subject.params.joints)
    assert back.keypoints.points["joints"].tolist() == subject.keypoints.points["joints"].tolist()
    assert back.quality == subject.quality and torch.equal(back.camera.K, subject.camera.K)
    clip = _clip(subject)
    save_clip(clip, tmp_path)
    again = load_clip(tmp_path)
    assert torch.equal(again.frames, clip.frames) and again.cameras[3].width == 48 and again.region == "body"
    motion = replace(tiny_motion(), valid=torch.tensor([True, False, True, True]))
    save_motions([motion], tmp_path)
    (m,) = load_motions(tmp_path)
    assert m.name == "tiny" and torch.equal(m.params.joints, motion.params.joints) and torch.equal(m.valid, motion.valid)


# ---------------------------------------------------------------------------------------------------------- callbacks


class Recording(TrainingCallback):
    def __init__(self) -> None:
        self.steps, self.evaluations, self.checkpoints = [], [], []

    def on_step(self, event):
        self.steps.append((event.step, event.kind, {k: float(v) for k, v in event.losses.items()}, dict(event.learning_rates)))

    def on_evaluation(self, step, metrics, picture):
        self.evaluations.append((step, metrics, tuple(picture.shape)))

    def on_checkpoint(self, step, path):
        self.checkpoints.append((step, path.is_file()))


def _observed(subject, folder, callbacks, steps=8):
    avatar = Blob(tiny_context())
    avatar.create(subject, [])
    config = TrainingConfig(steps=steps, checkpoint_every=3, evaluate_every=3, resolution=32)
    terms = [LossTerm("rgb", rgb, 1.0, 0, ("photo", "body"))]
    train(avatar, subject, [], terms, config, ReferenceRenderer(), 0, folder, callbacks=callbacks)
    return avatar


def test_callbacks_see_the_training_and_do_not_change_it(subject, tmp_path):
    seen = Recording()
    watched = _observed(subject, tmp_path / "a", (seen,))
    assert torch.equal(watched.colors, _observed(subject, tmp_path / "b", ()).colors)
    assert [step for step, *_ in seen.steps] == list(range(8))
    assert {kind for _, kind, *_ in seen.steps} == {"photo"}
    assert all(set(losses) == {"rgb"} and losses["rgb"] > 0 for _, _, losses, _ in seen.steps)
    rates = [next(iter(r.values())) for *_, r in seen.steps]
    assert rates == sorted(rates, reverse=True)
    assert [step for step, *_ in seen.evaluations] == [3, 6, 8]
    assert seen.evaluations[-1][1]["psnr"] > seen.evaluations[0][1]["psnr"]
    assert seen.evaluations[0][2][2] == 3
    assert seen.checkpoints == [(3, True), (6, True)]


def test_a_callback_that_raises_is_named(subject, tmp_path):
    class Broken(TrainingCallback):
        def on_step(self, event):
            raise ValueError("boom")

    with pytest.raises(PluginError, match="training callback Broken raised in on_step: ValueError: boom"):
        _observed(subject, tmp_path, (Broken(),))


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [1.0, 0.55, 0.1]),
        ({"schedule": "linear"}, [1.0, 0.55, 0.1]),
        ({"schedule": "exponential", "lr_end": 0.01}, [1.0, 0.1, 0.01]),
        ({"schedule": "constant"}, [1.0, 1.0, 1.0]),
        ({"schedule": "constant", "warmup": 4}, [0.25, 1.0, 1.0]),
    ],
)
def test_the_recipe_sets_the_learning_rate(options, wanted):
    config = TrainingConfig(steps=100, **options)
    assert [learning_rate_factor(step, config) for step in (0, 50, 100)] == pytest.approx(wanted)


def test_tensorboard_shows_losses_and_pictures(subject, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _observed(subject, None, (TensorBoardLogger(tmp_path, every=2),))
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [e.step for e in events.Scalars("loss/rgb")] == [0, 2, 4, 6]
    assert [e.step for e in events.Scalars("photo/psnr")] == [3, 6, 8]
    assert len(events.Images("photo")) == 3


def test_tensorboard_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingDependency, match=r'pip install "avatarkit-oneshot\[tensorboard\]"'):
        TensorBoardLogger(tmp_path)
