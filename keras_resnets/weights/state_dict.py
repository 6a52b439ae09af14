"""The state dict of a torch network, mapped by name into a network of this package."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_resnets.errors import UsageError, first_line
from keras_resnets.graph import walk
from keras_resnets.weights.own import check_exists
from keras_resnets.weights.torch_names import CLASSIFIERS, NAMINGS, Naming
from keras_resnets.weights.transfer import (
    Arrays,
    absorb_biases,
    absorb_epsilons,
    absorb_scales,
    assign,
    weighted_layers,
)

# The weights of a torch layer, by the names that they have in the Keras layer of the same kind.
BATCH_NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
KERNEL_BIAS = {"kernel": "weight", "bias": "bias"}

WRAPPERS = ("state_dict", "model_state_dict", "model", "net")  # keys under which training scripts keep the state dict
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel, torch.compile, Lightning


def load_torch_weights(model: keras.Model, source: str | Path | Mapping[str, Any]) -> None:
    """Loads a network trained in torch into the same network of this package.

    Knows the names of torchvision and timm, of the CIFAR zoos kuangliu/pytorch-cifar (ResNet, ShuffleNetV2),
    akamaster/pytorch_resnet_cifar10 and chenyaofo/pytorch-cifar-models, and of pytorch-fid's Inception v3. Convolution
    biases in front of a BatchNorm are absorbed by it, exactly; so are another BatchNorm epsilon, and a scale where the
    network has none.

    Args:
        model: The network, with as many classes, or without its top: the classifier is passed over then.
        source: A state dict, or the path of a `.pth`, `.pt`, `.th` or `.safetensors` file; wrapped (`state_dict`,
            `module.`) or bare. Pickled objects other than tensors are refused.

    Raises:
        UsageError: If the file cannot be read, an entry is missing, left over or misshapen (all of them are listed),
            or the network strides or pads elsewhere than the torch network. The model then stays as it was.
    """
    if not isinstance(source, Mapping | str | Path):
        raise UsageError(f"weights: give a state dict or the path of one, not a {type(source).__name__}")
    if not isinstance(model, keras.Model) or isinstance(model, keras.Sequential) or not hasattr(model, "inputs"):
        raise UsageError("weights: give a network of this package, a functional model")
    title = "the state dict" if isinstance(source, Mapping) else str(source)
    state = _unwrap(source if isinstance(source, Mapping) else _read(Path(source)), title)
    naming = _choose_naming(model, state)
    naming.check(model)
    entries = _entries(model, naming)
    arrays = _collect(model, {key: state[key] for key in state if not naming.ignored(key, model)}, entries)
    absorb_biases(model, arrays)
    absorb_epsilons(model, arrays, {layer.name: naming.epsilon for layer in weighted_layers(model) if _is_norm(layer)})
    absorb_scales(model, arrays)
    assign(model, arrays, f"{title} (names of {naming.title})", entries)


def _read(path: Path) -> Mapping[str, Any]:
    check_exists(path)
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(path)
        except (SafetensorError, OSError, TypeError, ValueError) as error:  # TypeError: a dtype that numpy lacks
            raise UsageError(f"weights: {path} is no readable .safetensors file: {first_line(error)}") from error
    if path.suffix not in (".pth", ".pt", ".th"):
        raise UsageError(f"weights: {path} is none of .pth, .pt, .th and .safetensors")
    try:
        import torch  # noqa: TID251 - only torch reads torch's files, and only when one is given
    except ImportError as error:
        raise UsageError(f"weights: to read {path}, install torch (pip install 'keras-resnets[torch]')") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises what pickle, zipfile and its own reader raise
        raise UsageError(
            f"weights: {path} is damaged, or holds more than tensors, which could run code and is refused; "
            f"save the network's state_dict() again"
        ) from error
    if not isinstance(content, Mapping):
        raise UsageError(f"weights: {path} holds a {type(content).__name__}, not a state dict")
    return content


def _unwrap(state: Mapping[str, Any], title: str) -> Arrays:
    for key in WRAPPERS:
        if isinstance(state.get(key), Mapping):
            state = state[key]
    odd = [key for key, value in state.items() if not isinstance(key, str) or not hasattr(value, "shape")]
    if odd or not state:
        raise UsageError(f"weights: {title} is no state dict: {', '.join(map(str, odd[:5])) or 'nothing in it'}")
    while prefix := next((one for one in PREFIXES if all(key.startswith(one) for key in state)), ""):
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    # What torch counts but does not use, and the dots of DenseNet files older than torch 0.4.
    return {
        re.sub(r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2.", key): _to_numpy(value)
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")
    }


def _to_numpy(value: Any) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, "float32")


def _choose_naming(model: keras.Model, state: Arrays) -> Naming:
    """The naming under which the state dict holds most of the model's layers and of those of a classifier."""
    names = {*block_names(model).values(), *CLASSIFIERS}  # some differ in these alone, which the model may not have
    return max(NAMINGS, key=lambda naming: sum(f"{naming.rename(name)}.weight" in state for name in names))


def block_names(model: keras.Model) -> dict[str, str]:
    """The names of the layers with weights, each block with its running number in the network after it.

    Some libraries number blocks through the network: "stage3_block1_conv" becomes "stage3_block1#5_conv" if five
    blocks come before. Convolutions that stand in no block count as one each: "stage2_conv1" becomes "stage2#2_conv1".
    """
    numbers: dict[str, int] = {}
    names = {}
    for layer in weighted_layers(model):
        found = re.match(r"stage\d+(?:_block\d+|(?=_(?:conv|bn)(\d+)))", layer.name)
        if not found:
            names[layer.name] = layer.name
            continue
        unit = found[0] + (found[1] or "")
        number = numbers.setdefault(unit, len(numbers))
        names[layer.name] = f"{found[0]}#{number}{layer.name[found.end() :]}"
    return names


def _is_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def _entries(model: keras.Model, naming: Naming) -> dict[str, str]:
    """The entry of every weight that our layers can have: "stem_conv/kernel" -> "conv1.weight"."""
    names = block_names(model)
    return {
        f"{layer.name}/{weight}": f"{naming.rename(names[layer.name])}.{key}"
        for layer in weighted_layers(model)
        for weight, key in (BATCH_NORM if _is_norm(layer) else KERNEL_BIAS).items()
    }


def _collect(model: keras.Model, state: Arrays, entries: Mapping[str, str]) -> Arrays:
    """The state dict under the names of our weights, in Keras's layout; entries of no weight keep their names."""
    unused = state.keys() - set(entries.values())
    arrays = {key: state[entry] for key, entry in entries.items() if entry in state}
    flattened = _flattened_shapes(model)
    for layer in weighted_layers(model):
        key = f"{layer.name}/kernel"
        if key in arrays:
            arrays[key] = _layout(layer, arrays[key], flattened.get(layer.name))
    return arrays | {entry: state[entry] for entry in unused}


def _flattened_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """For each layer that reads a flattened map, possibly through dropout, the map's (height, width, channels)."""
    flat: dict[str, tuple[int, ...]] = {}  # layers that put out a flattened map
    readers: dict[str, tuple[int, ...]] = {}
    for layer, before in walk(model):
        if isinstance(layer, keras.layers.Flatten):
            _, *sides = layer.input.shape
            flat[layer.name] = tuple(sides) if layer.data_format == "channels_last" else (*sides[1:], sides[0])
        elif before and before[0] in flat:
            (flat if isinstance(layer, keras.layers.Dropout) else readers)[layer.name] = flat[before[0]]
    return readers


def _layout(layer: keras.layers.Layer, kernel: np.ndarray, flattened: tuple[int, ...] | None) -> np.ndarray:
    """A kernel as Keras lays it out: channels last, outputs after inputs; linear layers and 1x1 convolutions alike."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return kernel.transpose(2, 3, 0, 1) if kernel.ndim == 4 else kernel
    if isinstance(layer, keras.layers.Dense):
        if flattened and kernel.ndim == 2 and kernel.shape[1] == np.prod(flattened):
            height, width, count = flattened
            kernel = kernel.reshape(-1, count, height, width)
        if kernel.ndim == 4:
            return kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])
        return kernel.T
    if kernel.ndim == 2:
        kernel = kernel[:, :, None, None]
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel
