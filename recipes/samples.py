"""Generated images as a grid, and grids as a film."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from export.files import replacing

SMALLEST = 320  # pixels: a side of a grid below is enlarged
FRAME_MS = 300
LAST_FRAME_MS = 3000


def draw_grid(images: np.ndarray) -> Image.Image:
    """Images side by side in as square a grid as their number allows, a pixel apart.

    Args:
        images: Shape (n, height, width, 1 or 3), uint8.
    """
    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grid = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, channels), 128, np.uint8)
    for place, image in enumerate(images):
        top, left = (place // columns) * (height + 1) + 1, (place % columns) * (width + 1) + 1
        grid[top : top + height, left : left + width] = image
    drawn = Image.fromarray(grid[..., 0] if channels == 1 else grid)
    times = max(1, math.ceil(SMALLEST / min(drawn.size)))
    return drawn.resize((drawn.width * times, drawn.height * times), Image.Resampling.NEAREST)


def write_film(grids: Sequence[Path], out: Path) -> None:
    """Writes grids one after the other as an animated GIF that rests on the last."""
    frames = []
    for path in grids:
        with Image.open(path) as grid:
            frames.append(grid.convert("RGB").quantize())
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    with replacing(out) as part:
        frames[0].save(part, save_all=True, append_images=frames[1:], duration=durations, loop=0)
