"""A stand-in for the program of this name in a checkout of Portrait4D. A picture without any detail has no face: like the
original, this one then prints a line, stops with what is done so far, and ends with code 0."""

import argparse
import os
from pathlib import Path

import numpy as np
from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument("--input_dir")
parser.add_argument("--save_dir")
options = parser.parse_args()
open("assets/facedetect/retinaface/Resnet50_Final.pth", "rb").close()
out = Path(options.save_dir)
for name in ("align_images", "bfm_params", "2dldmks_align", "3dldmks_align"):
    (out / name).mkdir(parents=True, exist_ok=True)
for name in sorted(os.listdir(options.input_dir)):
    image = Image.open(Path(options.input_dir, name)).convert("RGB")
    if np.asarray(image).std() < 1:
        print("cannot unpack non-iterable NoneType object\n1")
        raise SystemExit(0)
    stem = name.removesuffix(".png")
    image.resize((512, 512)).save(out / "align_images" / name)
    np.save(out / "3dldmks_align" / f"{stem}.npy", 256 + 100 * np.random.RandomState(1).uniform(-1, 1, (68, 2)))
    np.save(out / "bfm_params" / f"{stem}.npy", {"angle": np.full((1, 3), 0.1, np.float32)})
