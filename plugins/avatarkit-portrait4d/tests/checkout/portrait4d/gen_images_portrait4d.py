"""A stand-in for the program of this name in a checkout of Portrait4D: same options, files, sizes and exit codes, no network.

The middle panel is the mean of source and driving picture. The file ``fault`` beside it, ``KIND:N``, makes it fail before
its N-th frame: crash, oom, exit, stall, hang, garbage (a log without end), cut (a truncated picture), small, extra, skip; a
fault that says ``once`` after that is gone with the first run.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

parser = argparse.ArgumentParser(allow_abbrev=False)
for option in ("--network", "--srcdir", "--tardir", "--outdir", "--use_simplified", "--use_neck", "--reload_modules"):
    parser.add_argument(option)
options = parser.parse_args()
assert options.use_simplified == "1"
print(f'Loading networks from "{options.network}"...', flush=True)
if not Path(os.environ["TORCH_HOME"], "hub/checkpoints/resnet34-333f7ec4.pth").is_file():
    sys.exit("urllib.error.URLError: <urlopen error [Errno -2] Name or service not known>")
for name in ("models/FLAME/geometry/generic_model.pkl", "models/pdfgc/weights/motion_model.pth", options.network):
    open(name, "rb").close()

note = Path(__file__).with_name("fault")
kind, _, rest = (note.read_text() if note.exists() else "").partition(":")
when, _, once = rest.partition(":")
if once:
    note.unlink()


def face(root, name):
    image = np.asarray(Image.open(Path(root, "align_images", name)), np.float32)
    stem = name.removesuffix(".png")
    landmarks = np.load(Path(root, "3dldmks_align", f"{stem}.npy"))
    numbers = np.load(Path(root, "bfm2flame_params_simplified", f"{stem}.npy"))
    assert image.shape == (512, 512, 3) and landmarks.shape == (68, 2) and numbers.shape == (437,), name
    return image


def fail(out):
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "oom":
        raise RuntimeError("CUDA out of memory. Tried to allocate 1.50 GiB")
    if kind == "exit":
        sys.exit(3)
    if kind in ("stall", "hang"):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        Path(__file__).with_name("child").write_text(str(child.pid))
        time.sleep(600)
    while kind == "garbage":
        sys.stdout.write("\x00\xff" * 100000)
    if kind == "extra":
        Image.new("RGB", (8, 8)).save(out / "stranger.jpg")


if kind == "hang":
    fail(None)
sources, drivers = (sorted(os.listdir(Path(d, "align_images"))) for d in (options.srcdir, options.tardir))
for source in sources:
    out = Path(options.outdir, source.removesuffix(".png"))
    out.mkdir(parents=True)
    a = face(options.srcdir, source)
    for number, name in enumerate(drivers):
        b = face(options.tardir, name)
        at_fault = kind and number == int(when)
        if at_fault and kind in ("crash", "oom", "exit", "stall", "garbage", "extra"):
            fail(out)
        if at_fault and kind == "skip":
            continue
        panels = np.concatenate([a, (a + b) / 2, b], 1).round().astype(np.uint8)
        picture = Image.fromarray(panels)
        path = out / f"{number:05d}.jpg"
        (picture.resize((30, 10)) if at_fault and kind == "small" else picture).save(path, quality=95)
        if at_fault and kind == "cut":
            os.truncate(path, 200)
