"""A stand-in for the program of this name in a checkout of Portrait4D: everything neutral."""

import argparse
import os
from pathlib import Path

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--input_dir")
parser.add_argument("--save_dir")
options = parser.parse_args()
out = Path(options.save_dir, "bfm2flame_params_simplified")
out.mkdir(exist_ok=True)
for name in sorted(os.listdir(Path(options.input_dir, "bfm_params"))):
    numbers = np.zeros(437, np.float32)
    numbers[:16] = np.eye(4).ravel()
    np.save(out / name, numbers)
