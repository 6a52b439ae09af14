"""Commands that tell about networks."""

from dataclasses import dataclass
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class List:
    """List the networks that can be built: name, published error, paper."""

    pattern: Annotated[Positional[str], arg(metavar="PATTERN")] = "*"
    """Shell pattern, such as 'resnet*'."""

    def run(self) -> None:
        from keras_resnets import UsageError, get_variant, list_models

        names = list_models(self.pattern)
        if not names:
            raise UsageError(f"no model matches {self.pattern!r}; `keras-resnets list` shows all of them")
        for name in names:
            variant = get_variant(name)
            error = f"{variant.error.percent:5.2f}%" if variant.error else "     -"
            print(f"{name:<26} {error}  {variant.reference}")


@dataclass(frozen=True)
class Info:
    """Show what a network costs and where it comes from."""

    model: Annotated[Positional[str], arg(metavar="MODEL")]
    """Registered name; see `keras-resnets list`."""

    def run(self) -> None:
        from keras_resnets import model_info

        info = model_info(self.model)
        height, width, channels = info.input_shape
        lines = {
            "model": info.name,
            "family": info.family,
            "paper": info.reference,
            "input": f"{height} x {width} x {channels}",
            "classes": f"{info.classes}",
            "parameters": f"{info.parameters:,} trainable ({info.total_parameters:,} with BatchNorm statistics)",
            "MACs": f"{info.macs:,} for one image",
            "depth": f"{info.depth} layers, as the paper counts them",
            "error": f"{info.error.percent}% ({info.error.source})" if info.error else "none published",
            "weights": "weights='imagenet' loads those that Keras publishes"
            if info.published_weights
            else "none published",
            "options": ", ".join(info.options),
        }
        for key, value in lines.items():
            print(f"{key:<11} {value}")
