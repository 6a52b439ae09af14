"""FractalNet of Larsson et al. 2017: columns of doubling depth side by side, joined by their mean; no residuals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
from keras import layers

from keras_resnets.errors import UsageError
from keras_resnets.layers import conv, max_pool, norm_activation
from keras_resnets.registry import register
from keras_resnets.spec import Spec
from keras_resnets.variant import CIFAR10, Error, Variant


@dataclass(frozen=True)
class FractalNetSpec(Spec):
    """A chain of fractal blocks with 2x2 max-pools after them.

    Args:
        widths: Channels of each block.
        columns: Columns C of every block; column c is 2^(c-1) convolutions deep.
        drop_path: Share of its inputs that a join drops in training; 0.15 in the paper. For half of the batches a
            single column of the whole network is trained instead, see `ColumnChoice`.
        dropout: Share of the features dropped after the convolutions of the last block; earlier blocks drop
            linearly less, the first none. 0.4 in the paper.

    References: Larsson et al. 2017, arXiv:1605.07648, section 2 (Fig. 1), section 3 (drop-path) and section 4.
    """

    family: ClassVar[str] = "fractalnet"

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    columns: int = 3
    drop_path: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("drop_path", "dropout"):
            self._check_share(field)
        if not self.widths or min(self.widths) < 1:
            raise UsageError(f"widths={self.widths}: give one positive number of channels a block")
        if self.columns < 1:
            raise UsageError(f"columns={self.columns}: give a positive number")
        if self.drop_path and self.columns == 1:
            raise UsageError("drop_path drops inputs of joins, and one column has none; set columns=2 or more")

    @property
    def stride(self) -> int:
        return int(2 ** len(self.widths))

    def stages(self, x: Any) -> Iterator[tuple[str, Any]]:
        choice = ColumnChoice(self.columns, name="column_choice")(x) if self.drop_path else None
        for stage, width in enumerate(self.widths, 1):
            if stage > 1:
                x = max_pool(x, 2, padding="valid", name=f"stage{stage}_pool")
            x = fractal_block(self, x, Place(f"stage{stage}", width, self._dropout(stage), choice))
            yield f"stage{stage}", x
        yield "head", max_pool(x, 2, padding="valid", name="head_max_pool")

    def _dropout(self, stage: int) -> float:
        last = len(self.widths)
        return self.dropout * (stage - 1) / (last - 1) if last > 1 else self.dropout

    def depth(self, longest_path: int) -> int:
        """B * 2^(C-1): the paper does not count the classifier."""
        return longest_path - 1


@dataclass(frozen=True)
class Place:
    """Where a fractal block stands in the network.

    Args:
        name: Prefix of its layers' names.
        width: Channels of its convolutions.
        dropout: Share of the features dropped after each of them.
        choice: Output of the network's `ColumnChoice`, where there is one.
    """

    name: str
    width: int
    dropout: float
    choice: Any


def fractal_block(spec: FractalNetSpec, x: Any, place: Place) -> Any:
    """C columns that join wherever more than one ends: (h, w, c) -> (h, w, width). Fig. 1.

    The deepest column has a unit in each of 2^(C-1) rows; a unit of the column before it spans two rows, and so on.
    The authors' code pools the last outputs of the columns one by one and joins them then, for convenience; here the
    block ends in its join, as the figure does.
    """
    rows = 2 ** (spec.columns - 1)
    spans = {column: rows >> (column - 1) for column in range(1, spec.columns + 1)}
    ready = dict.fromkeys(spans, x)  # what the next unit of each column reads
    for row in range(1, rows + 1):
        ending = {column: row // span for column, span in spans.items() if row % span == 0}
        paths = [
            unit(spec, ready[column], place, f"{place.name}_column{column}_conv{number}")
            for column, number in ending.items()
        ]
        x = join(spec, paths, place, f"{place.name}_join{row // 2}")
        ready.update(dict.fromkeys(ending, x))
    return x


def unit(spec: FractalNetSpec, x: Any, place: Place, name: str) -> Any:
    """3x3 convolution, dropout where the authors' code has it, normalisation, activation."""
    x = conv(x, place.width, 3, style=spec.style, name=name)
    if place.dropout:
        x = layers.Dropout(place.dropout, name=name.replace("conv", "dropout"))(x)
    return norm_activation(x, style=spec.style, name=name.replace("conv", "bn"))


def join(spec: FractalNetSpec, paths: list[Any], place: Place, name: str) -> Any:
    """Mean of the paths that end here, shallowest first."""
    if len(paths) == 1:
        return paths[0]
    if spec.drop_path:
        return DropPathJoin(spec.drop_path, name=name)([*paths, place.choice])
    return layers.Average(name=name)(paths)


class _Drawing(layers.Layer):
    """A layer that draws random numbers in training."""

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_resnets")
class ColumnChoice(_Drawing):
    """Draws the column that a batch trains alone: (b, h, w, c) -> (columns,), the same for every join.

    1 at one column and 0 elsewhere in half of the batches, global drop-path; all 0 in the others and at inference,
    which leaves the joins to themselves.

    Args:
        columns: Number of columns.
        seed: Of the draws.

    References: Larsson et al. 2017, arXiv:1605.07648, section 3: half local and half global sampling, drawn
    anew for each batch.
    """

    def __init__(self, columns: int, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.columns = columns

    def call(self, x: Any, training: bool = False) -> Any:
        if not training:
            return keras.ops.zeros((self.columns,), self.compute_dtype)
        draw = keras.random.randint((), 0, 2 * self.columns, seed=self.seed_generator)
        return keras.ops.one_hot(draw, 2 * self.columns, dtype=self.compute_dtype)[: self.columns]

    def compute_output_shape(self, input_shape: Any) -> tuple[int, ...]:
        return (self.columns,)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"columns": self.columns}


@keras.saving.register_keras_serializable(package="keras_resnets")
class DropPathJoin(_Drawing):
    """Mean of those inputs that drop-path leaves; of all of them at inference.

    Takes the paths, (b, h, w, c) each, that end in the deepest columns, and the output of `ColumnChoice`. Where that
    names the column of one of them, this path passes alone. Otherwise each is dropped with probability `rate`, and
    the luckiest stays if all were to go. The draws hold for the whole batch.

    Args:
        rate: Probability of dropping an input.
        seed: Of the draws.

    References: Larsson et al. 2017, arXiv:1605.07648, section 3 and Fig. 3.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = rate

    def call(self, inputs: Sequence[Any], training: bool = False) -> Any:
        *paths, choice = inputs
        if not training:
            return sum(paths) / len(paths)
        draws = keras.random.uniform((len(paths),), seed=self.seed_generator)
        kept = keras.ops.cast(draws >= keras.ops.minimum(self.rate, keras.ops.max(draws)), choice.dtype)
        chosen = choice[-len(paths) :]
        weights = keras.ops.where(keras.ops.any(chosen > 0), chosen, kept)
        weights = weights / keras.ops.sum(weights)
        return sum(path * weights[place] for place, path in enumerate(paths))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"rate": self.rate}


_PAPER = "Larsson et al. 2017, arXiv:1605.07648"

# The widths are those of section 4. They make 33.7 million parameters, in the authors' own generator of this net,
# too; Table 1 says 38.6 million.
FractalNet20 = register(
    Variant(
        "FractalNet20",
        FractalNetSpec(),
        f"{_PAPER}, section 4 and Table 1",
        CIFAR10,
        Error(5.22, f"CIFAR-10 with augmentation, without drop-path and dropout, {_PAPER}, Table 1"),
    )
)
