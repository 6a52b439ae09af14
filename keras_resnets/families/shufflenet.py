"""What the two ShuffleNets share: the stem, and three stages of units whose first one strides."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras_resnets.errors import UsageError
from keras_resnets.layers import Stem, conv_bn, max_pool
from keras_resnets.spec import Spec

REPEATS = (4, 8, 4)  # units of the three stages, which the papers call stages 2 to 4


@dataclass(frozen=True)
class ShuffleNetSpec(Spec):
    """A ShuffleNet of either version.

    Args:
        stem: "imagenet" (3x3 with stride 2 and max-pool) or "cifar" (3x3).
        stem_width: Channels of the stem.
        widths: Channels of the three stages.

    References: Zhang et al. 2018, arXiv:1707.01083, Table 1; Ma et al. 2018, arXiv:1807.11164, Table 5.
    """

    stem: Stem = "imagenet"
    stem_width: int = 24
    widths: tuple[int, int, int] = (116, 232, 464)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choice("stem", Stem)
        if self.stem_width < 1:
            raise UsageError(f"stem_width={self.stem_width}: give a positive number of channels")

    @property
    def stride(self) -> int:
        return 32 if self.stem == "imagenet" else 8

    @abstractmethod
    def unit(self, x: Any, width: int, stride: int, name: str, number: int) -> Any:
        """Unit of that number, counted from 1 over all stages: (h, w, c) -> (h/stride, w/stride, width)."""

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        large = self.stem == "imagenet"
        x = conv_bn(x, self.stem_width, 3, stride=2 if large else 1, style=self.style, name="stem_conv")
        if large:
            x = max_pool(x, style=self.style, name="stem_pool")
        yield "stem", x
        made = 0
        for stage, (width, repeats) in enumerate(zip(self.widths, REPEATS, strict=True), 1):
            for block in range(1, repeats + 1):
                made += 1
                x = self.unit(x, width, 2 if block == 1 else 1, f"stage{stage}_block{block}", made)
            yield f"stage{stage}", x
