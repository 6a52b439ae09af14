"""A program for tests/test_export/test_tfmot.py: rebuilds tiny networks in tf_keras, which needs a process of its own.

    TF_USE_LEGACY_KERAS=1 KERAS_BACKEND=tensorflow python -m tfmot_families KEY ...

For each tiny network it prints a line of JSON: the largest difference between it and its copy; for those named also
that between the copy under rounding and its int8 file, as a share of the outputs' span, and the operations that are in
float or have no integer kernel.
"""

import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
from tiny import TINY, build_tiny, randomize

from export import _bridge, _tfmot
from export.flatbuffer import describe, set_io
from export.response import spell_out
from export.runtimes.litert import LiteRT

for key in sorted(TINY):
    keras.utils.set_random_seed(0)
    model = randomize(
        build_tiny(key, pixel_stats=([120.0] * 3, [60.0] * 3)) if not key.startswith("lenet") else build_tiny(key)
    )
    images = np.random.default_rng(0).uniform(0, 255, (32, *model.input_shape[1:])).astype("float32")
    expected = model.predict(images, verbose=0)
    copied = _bridge.rebuild(model).predict(images, verbose=0)
    found = {"key": key, "copied": float(np.abs(copied - expected).max())}
    if key in sys.argv[1:]:
        rounded = _tfmot.Rounded(spell_out(model), None)
        rounded.read_ranges(images)
        outputs = rounded.model.predict(images, verbose=0)
        data = rounded.converted()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.tflite"
            path.write_bytes(set_io(data, "float32"))
            off = np.abs(np.concatenate(list(LiteRT(path).predict(images))).reshape(outputs.shape) - outputs)
        found |= {
            "trained": float(np.abs(outputs - expected).mean() / np.ptp(expected)),
            "off": float(off.mean() / np.ptp(outputs)),
            "floats": describe(data).float_operations,
            "swishes": describe(data).operations.get("HARD_SWISH", 0),
        }
    print(json.dumps(found), flush=True)
