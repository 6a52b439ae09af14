"""What TFLite Micro does with a file, in a process of its own: `python _tflm.py FILE FOLDER`.

Run as a script, so that nothing of the package is imported: it starts in a quarter of a second, and a check in the
interpreter's native code that aborts takes down this process alone. Reads `images.npy` in the folder, shape
(n, 1, height, width, channels), as the file takes them; writes `outputs.npy`, shape (m, 1, classes), for as many of
them, at least one, as the time allows. The interpreter's account of its memory, and its complaints, go to stderr.
"""

import sys
import time
from pathlib import Path

import numpy as np
from tflite_micro import runtime

ARENA = 2**30  # bytes; more than any file needs, and only what is used becomes memory
SECONDS = 3.0  # for all images: the kernels are those of reference, written to be read


def main(file: str, folder: Path) -> None:
    """Runs the images through the file."""
    interpreter = runtime.Interpreter.from_file(file, arena_size=ARENA)
    outputs: list[np.ndarray] = []
    start = time.perf_counter()
    for image in np.load(folder / "images.npy", allow_pickle=False):
        interpreter.set_input(image, 0)
        interpreter.invoke()
        outputs.append(interpreter.get_output(0))
        if (time.perf_counter() - start) * (len(outputs) + 1) / len(outputs) > SECONDS:
            break
    interpreter.print_allocations()
    np.save(folder / "outputs.npy", np.stack(outputs), allow_pickle=False)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
