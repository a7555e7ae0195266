"""The nodes keep ComfyUI's contract, and a workflow of them makes an avatar, pictures and a film."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
import wave
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

import avatarkit

HERE = Path(__file__).parent.parent / "plugins" / "avatarkit-comfyui"
WORKFLOW = json.loads((HERE / "example_workflows" / "first-avatar.json").read_text(encoding="utf-8"))
CONSENT = "Public-domain portrait."
PRIMITIVES: dict[str, type | tuple[type, ...]] = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}
SOCKETS = {"IMAGE", "MASK", "AUDIO", "FLOAT", "AVATARKIT_AVATAR", "AVATARKIT_MOTION"}

Graph = dict[str, dict[str, Any]]


class Interrupted(Exception):
    """What ComfyUI raises in a node when the user interrupts."""


@dataclass
class Comfy:
    """A ComfyUI without server: its folders, and the nodes.

    Attributes:
        folder: it has ``input``, ``output`` and ``temp``.
        nodes: class types -> nodes.
        names: class types -> names that users see.
        steps: values that progress bars have shown.
        interrupt: the user has interrupted.
    """

    folder: Path
    nodes: dict[str, type] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    steps: list[float] = field(default_factory=list)
    interrupt: bool = False

    def modules(self) -> dict[str, ModuleType]:
        """Return ComfyUI's modules that nodes import, with the functions that they call."""
        comfy = self

        class ProgressBar:
            def __init__(self, total: int) -> None:
                self.total = total

            def update_absolute(self, value: int) -> None:
                assert 0 <= value <= self.total
                comfy.steps.append(value / self.total)

        def interrupted() -> None:
            if comfy.interrupt:
                comfy.interrupt = False
                raise Interrupted

        def annotated(name: str) -> str:
            place = "output" if name.endswith(" [output]") else "input"
            return str(comfy.folder / place / name.removesuffix(" [output]"))

        def save_path(prefix: str, root: str) -> tuple[str, str, int, str, str]:
            folder = Path(root, prefix).parent
            folder.mkdir(parents=True, exist_ok=True)
            name = Path(prefix).name
            return str(folder), name, 1 + len(list(folder.glob(f"{name}_*"))), Path(prefix).parent.as_posix(), prefix

        paths = {f"get_{name}_directory": lambda at=self.folder / place: str(at) for name, place in
                 (("temp", "temp"), ("input", "input"), ("output", "output"))}  # fmt: skip
        contents: dict[str, dict[str, Any]] = {
            "folder_paths": {**paths, "get_annotated_filepath": annotated, "get_save_image_path": save_path},
            "comfy": {},
            "comfy.utils": {"ProgressBar": ProgressBar},
            "comfy.model_management": {"throw_exception_if_processing_interrupted": interrupted},
        }
        made = {name: ModuleType(name) for name in contents}
        for name, values in contents.items():
            vars(made[name]).update(values)
        made["comfy"].utils, made["comfy"].model_management = made["comfy.utils"], made["comfy.model_management"]  # type: ignore[attr-defined]
        return made


@pytest.fixture(scope="session")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Comfy]:
    comfy = Comfy(tmp_path_factory.mktemp("ComfyUI"))
    for name in ("input", "output", "temp"):
        (comfy.folder / name).mkdir()
    name = str(comfy.folder / "custom_nodes" / HERE.name)
    with pytest.MonkeyPatch.context() as patch:
        for module, loaded in comfy.modules().items():
            patch.setitem(sys.modules, module, loaded)
        spec = importlib.util.spec_from_file_location(name, HERE / "__init__.py")
        assert spec is not None
        assert spec.loader is not None
        package = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, name, package)
        spec.loader.exec_module(package)
        comfy.nodes, comfy.names = package.NODE_CLASS_MAPPINGS, package.NODE_DISPLAY_NAME_MAPPINGS
        yield comfy
    for module in [m for m in sys.modules if m.startswith(f"{name}.")]:
        del sys.modules[module]


class LoadImage:
    """ComfyUI's node as far as workflows here use it."""

    RETURN_TYPES, FUNCTION = ("IMAGE", "MASK"), "load_image"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"image": (["ada.png"],)}}

    def load_image(self, image: str) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.from_numpy(np.array(Image.open(self.folder / image).convert("RGB")))  # type: ignore[attr-defined]
        return (pixels / 255)[None], torch.zeros(1, 64, 64)


class SaveImage:
    """ComfyUI's node as far as workflows here use it."""

    RETURN_TYPES, FUNCTION, OUTPUT_NODE = (), "save_images", True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def save_images(self, images: torch.Tensor, filename_prefix: str) -> dict[str, Any]:
        return {"ui": {"images": [Image.fromarray((255 * image).byte().numpy()).size for image in images]}}


def inputs_of(node: type) -> dict[str, tuple[Any, ...]]:
    declared = node.INPUT_TYPES()  # type: ignore[attr-defined]
    return {**declared.get("required", {}), **declared.get("optional", {})}


def require_value(name: str, kind: Any, options: dict[str, Any], value: Any) -> None:
    """Check a value that the user has chosen, as ComfyUI does before it runs a workflow."""
    if isinstance(kind, list):
        assert value in kind, f"{name}: {value!r} is not in {kind}"
        return
    assert isinstance(value, PRIMITIVES[kind]), f"{name}: {value!r} is no {kind}"
    if kind in ("INT", "FLOAT"):
        assert options.get("min", value) <= value <= options.get("max", value), f"{name}: {value} is out of range"


def execute(graph: Graph, nodes: dict[str, type]) -> dict[str, Any]:
    """Validate and run a workflow as ComfyUI does: in another thread, in inference mode, each node once.

    Returns:
        Number of the node -> its outputs, or what it shows.
    """
    done: dict[str, Any] = {}

    def outputs(number: str) -> Any:
        if number in done:
            return done[number]
        node = nodes[graph[number]["class_type"]]
        declared, given = inputs_of(node), graph[number]["inputs"]
        assert set(node.INPUT_TYPES()["required"]) <= set(given) <= set(declared)  # type: ignore[attr-defined]
        values = {}
        for name, value in given.items():
            kind, options = declared[name][0], (declared[name][1:] or ({},))[0]
            if isinstance(value, list):
                source = nodes[graph[value[0]]["class_type"]]
                assert source.RETURN_TYPES[value[1]] == kind, f"{name} takes {kind}"  # type: ignore[attr-defined]
                values[name] = outputs(value[0])[value[1]]
            else:
                require_value(name, kind, options, value)
                values[name] = value
        if validate := getattr(node, "VALIDATE_INPUTS", None):
            names = validate.__func__.__code__.co_varnames[1 : validate.__func__.__code__.co_argcount]
            verdict = validate(**{name: values[name] for name in names if not isinstance(given[name], list)})
            assert verdict is True, verdict
        with torch.inference_mode():
            result = getattr(node(), node.FUNCTION)(**values)  # type: ignore[attr-defined]
        if isinstance(result, dict):
            assert node.OUTPUT_NODE  # type: ignore[attr-defined]
            json.dumps(result["ui"])  # it is sent to the browser
        else:
            assert len(result) == len(node.RETURN_TYPES)  # type: ignore[attr-defined]
        done[number] = result
        return result

    with ThreadPoolExecutor(1) as pool:
        for number in graph:
            pool.submit(outputs, number).result()
    return done


def test_every_node_says_what_comfyui_asks(comfy: Comfy) -> None:
    assert set(comfy.nodes) == set(comfy.names)
    for name, node in comfy.nodes.items():
        assert name.startswith("Avatarkit"), "class types of all custom nodes share one namespace"
        assert callable(getattr(node, node.FUNCTION))
        assert node.CATEGORY == "avatarkit"
        assert node.DESCRIPTION.endswith(".")
        assert len(node.RETURN_NAMES) == len(node.RETURN_TYPES)
        assert set(node.RETURN_TYPES) <= SOCKETS
        assert node.RETURN_TYPES or node.OUTPUT_NODE
        for key, (kind, *options) in inputs_of(node).items():
            assert isinstance(kind, list) or kind in PRIMITIVES or kind in SOCKETS, f"{name}: {key}"
            if options and "default" in options[0]:
                require_value(f"{name}: {key}", kind, options[0], options[0]["default"])
        json.dumps(node.INPUT_TYPES())  # the browser gets it


def test_only_public_names_of_avatarkit_are_used() -> None:
    for file in (HERE / "avatarkit_comfyui").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).startswith("avatarkit"):
                assert node.module == "avatarkit"
                assert {alias.name for alias in node.names} <= set(avatarkit.__all__)
            elif isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith("avatarkit.")]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "avatarkit":
                assert node.attr in avatarkit.__all__


def test_the_project_file_is_what_the_registry_wants() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["comfy"].keys() >= {"PublisherId", "DisplayName"}
    assert project["project"]["dependencies"] == (HERE / "requirements.txt").read_text(encoding="utf-8").split()


def test_the_example_has_no_consent_until_someone_writes_it(comfy: Comfy) -> None:
    build = comfy.nodes["AvatarkitBuildAvatar"]
    assert WORKFLOW["2"]["inputs"]["consent"] == ""
    assert "Write into 'consent' what the person" in build.VALIDATE_INPUTS(consent=" ")
    assert build.VALIDATE_INPUTS(consent=CONSENT) is True
    assert build.VALIDATE_INPUTS(consent=None) is True  # comes from another node
    with pytest.raises(avatarkit.InputError, match="Write into 'consent'"):
        build().run(image=torch.zeros(1, 64, 64, 3), preset="instant", consent="\n", seed=0)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"image": torch.rand(3, 80, 80, 3)}, "built from one photo, and the input has 3: choose one with ImageFromBatch"),
        ({"image": torch.rand(1, 20, 20, 3)}, r"photo-\w+.png is too small \(20x20 pixels\)"),
        ({"image": torch.full((1, 128, 128, 3), 0.5)}, "person"),
        ({"image": torch.rand(1, 80, 80, 3), "settings": "training.stops=3"}, "Did you mean 'steps'"),
    ],
)
def test_what_cannot_become_an_avatar_is_said_in_a_sentence(inputs: dict[str, Any], message: str, comfy: Comfy) -> None:
    with torch.inference_mode(), pytest.raises(avatarkit.AvatarkitError, match=message):
        comfy.nodes["AvatarkitBuildAvatar"]().run(preset="instant", consent=CONSENT, seed=0, **inputs)


def test_an_interrupted_build_ends_with_comfyuis_exception(comfy: Comfy) -> None:
    comfy.interrupt = True
    with pytest.raises(Exception, match="^$") as error:
        comfy.nodes["AvatarkitBuildAvatar"]().run(image=torch.rand(1, 80, 80, 3), preset="instant", consent=CONSENT, seed=0)
    assert type(error.value).__name__ == "Interrupted"
    assert not list((comfy.folder / "temp").rglob("manifest.json"))


def test_nodes_leave_inference_mode_so_that_training_works(comfy: Comfy) -> None:
    base = comfy.nodes["AvatarkitRenderAvatar"].__mro__[1]

    class Learns(base):  # type: ignore[misc, valid-type]
        def work(self, *args: Any, **inputs: Any) -> torch.Tensor:
            weight = torch.ones(2, requires_grad=True)
            (3 * weight).sum().backward()
            assert weight.grad is not None
            return weight.grad

    with torch.inference_mode():
        assert Learns().run().tolist() == [3, 3]


def test_motions_are_names_and_files(comfy: Comfy) -> None:
    node = comfy.nodes["AvatarkitAvatarMotion"]
    assert "talk" in inputs_of(node)["motion"][0]
    file = comfy.folder / "input" / "walk.bvh"
    file.write_text("HIERARCHY")
    assert "walk.bvh" in inputs_of(node)["motion"][0]
    before = node.IS_CHANGED(motion="walk.bvh")
    file.write_text("HIERARCHY\nROOT Hips")
    os.utime(file, ns=(1, 1))
    assert node.IS_CHANGED(motion="walk.bvh") != before
    assert node.IS_CHANGED(motion="talk") == node.IS_CHANGED(motion="talk")
    assert node().run(motion="walk.bvh")[0].motion == str(file)


def test_sounds_become_files_as_they_are(comfy: Comfy) -> None:
    package = comfy.nodes["AvatarkitRenderAvatar"].__module__.rpartition(".")[0]
    media = sys.modules[f"{package}.media"]
    sound = torch.sin(torch.arange(1600) / 9)[None, None].repeat(1, 2, 1)
    path = media.write_sound({"waveform": sound, "sample_rate": 16000}, comfy.folder / "temp")
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, 16000, 1600)
        back = np.frombuffer(file.readframes(1600), "<i2").reshape(-1, 2).T / 32767
    assert np.abs(back - sound[0].numpy()).max() < 1e-4
    with pytest.raises(avatarkit.InputError, match=r"the input has the shape \(2, 1, 16\)"):
        media.write_sound({"waveform": torch.zeros(2, 1, 16), "sample_rate": 16000}, comfy.folder / "temp")


def test_a_picture_is_put_on_a_color(comfy: Comfy) -> None:
    package = comfy.nodes["AvatarkitRenderAvatar"].__module__.rpartition(".")[0]
    over = sys.modules[f"{package}.media"].over
    picture = torch.tensor([[[1.0, 0, 0, 1], [1, 0, 0, 0.5], [1, 0, 0, 0]]])
    image, mask = over(picture, "#0000ff")
    assert image.tolist() == [[[1, 0, 0], [0.5, 0, 0.5], [0, 0, 1]]]
    assert mask.tolist() == [[1, 0.5, 0]]
    assert torch.equal(over(picture, "transparent")[0], picture[..., :3])
    with pytest.raises(avatarkit.InputError, match="'bleu' is not a color"):
        over(picture, "bleu")


@pytest.mark.slow
def test_the_example_makes_an_avatar_pictures_and_a_film(comfy: Comfy, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(skimage.data.astronaut()).save(comfy.folder / "input" / "ada.png")
    monkeypatch.setattr(LoadImage, "folder", comfy.folder / "input", raising=False)
    nodes = {**comfy.nodes, "LoadImage": LoadImage, "SaveImage": SaveImage}
    graph: Graph = json.loads(json.dumps(WORKFLOW))
    with pytest.raises(AssertionError, match="Write into 'consent'"):
        execute(graph, nodes)
    graph["2"]["inputs"] |= {"preset": "instant", "consent": CONSENT}
    graph["5"]["inputs"] |= {"fps": 5, "height": 96, "background": "#00ff00", "max_frames": 4}
    graph["7"]["inputs"] |= {"fps": 5, "height": 96}
    graph["8"]["inputs"] |= {"height": 96, "background": "transparent"}
    comfy.steps.clear()
    done = execute(graph, nodes)

    avatar = done["2"][0]
    assert avatar.loaded.manifest["consent"] == CONSENT
    assert comfy.steps[-1] == 1.0
    frames, masks, fps = done["5"]
    assert frames.shape == (4, 96, 96, 3)
    assert masks.shape == (4, 96, 96)
    assert frames.dtype == masks.dtype == torch.float32
    assert not frames.is_inference()
    assert 0 <= frames.min() <= frames.max() <= 1
    assert fps == 5
    assert not torch.equal(frames[0], frames[3])
    person, empty = masks[0] > 0.99, masks[0] == 0
    assert person.float().mean() > 0.1
    assert torch.equal(frames[0][empty], torch.tensor([0.0, 1.0, 0.0]).expand(int(empty.sum()), 3))
    direct = torch.from_numpy(next(iter(avatar.loaded.animate("talk", size=(96, 96), fps=5, background="#00ff00"))).pixels())
    assert (frames[0] * 255 - direct).abs().max() <= 1
    image, mask = done["8"]
    assert image.shape == (1, 96, 96, 3)
    assert mask.shape == (1, 96, 96)

    saved = Path(done["3"]["ui"]["text"][0])
    assert saved == comfy.folder / "output" / "avatars" / "ada_00001_.avatar"
    assert not (saved / "cache").exists()
    film = done["7"]["ui"]["images"][0]
    assert (comfy.folder / film["type"] / film["subfolder"] / film["filename"]).stat().st_size > 1000

    load = comfy.nodes["AvatarkitLoadAvatar"]
    names = inputs_of(load)["avatar"][0]
    assert names == ["avatars/ada_00001_.avatar [output]"]
    assert load.IS_CHANGED(avatar=names[0]) == load.IS_CHANGED(avatar=names[0])
    sound = {"waveform": torch.sin(torch.arange(8000) / 20)[None, None] * 0.3, "sample_rate": 16000}
    with torch.inference_mode():
        (again,) = load().run(avatar=names[0])
        (move,) = comfy.nodes["AvatarkitAvatarSpeech"]().run(avatar=again, audio=sound)
        talking = comfy.nodes["AvatarkitAnimateAvatar"]().run(avatar=again, motion=move, fps=10, height=64, max_frames=2)
        second = comfy.nodes["AvatarkitSaveAvatar"]().run(avatar=again, filename_prefix="avatars/ada")
    assert talking[0].shape == (2, 64, 64, 3)
    assert Path(second["ui"]["text"][0]).name == "ada_00002_.avatar"  # nothing is overwritten
    comfy.interrupt = True
    with pytest.raises(Exception, match="^$") as error:
        comfy.nodes["AvatarkitAnimateAvatar"]().run(avatar=again, motion=move, fps=10, height=64)
    assert type(error.value).__name__ == "Interrupted"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a real ComfyUI with our nodes and a photo."""
    folder = os.environ.get("COMFYUI")
    if not folder:
        pytest.skip("COMFYUI names no folder of ComfyUI, which is on no package index")
    for name in ("custom_nodes", "input", "output", "temp", "user"):
        (tmp_path / name).mkdir()
    shutil.copytree(HERE, tmp_path / "custom_nodes" / HERE.name)
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / "input" / "ada.png")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--cpu", "--port", str(port), "--base-directory", str(tmp_path), "--database-url", "sqlite:///:memory:"]
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen([python, "main.py", *options], cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: ask(f"{address}/queue"), 300)
            yield address
        finally:
            process.terminate()
            process.wait(60)


def ask(address: str, data: Any = None) -> Any:
    """Get JSON from a server, or post JSON; None while it does not answer."""
    body = None if data is None else json.dumps(data).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, {"Content-Type": "application/json"})) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return json.load(error)
    except urllib.error.URLError:
        return None


def wait_for(something: Callable[[], Any], seconds: float) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := something():
            return found
        time.sleep(1)
    raise TimeoutError(f"nothing came in {seconds} s")


@pytest.mark.slow
def test_a_real_comfyui_runs_the_example(server: str, tmp_path: Path) -> None:
    graph: Graph = json.loads(json.dumps(WORKFLOW))
    refused = ask(f"{server}/prompt", {"prompt": graph})
    assert "Write into 'consent'" in refused["node_errors"]["2"]["errors"][0]["details"]
    graph["2"]["inputs"] |= {"preset": "instant", "consent": CONSENT}
    graph["5"]["inputs"] |= {"fps": 5, "height": 96, "max_frames": 4}
    graph["7"]["inputs"] |= {"fps": 5, "height": 96}
    number = ask(f"{server}/prompt", {"prompt": graph})["prompt_id"]
    done = wait_for(lambda: ask(f"{server}/history/{number}"), 1800)[number]
    assert done["status"]["status_str"] == "success", done["status"]["messages"]
    assert len(done["outputs"]["6"]["images"]) == 4
    assert [p.name for p in (tmp_path / "output" / "avatars").iterdir()] == ["ada_00001_.avatar"]
    assert (tmp_path / "output" / "video" / "ada_00001_.mp4").stat().st_size > 1000
