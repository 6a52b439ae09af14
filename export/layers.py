"""What the layers of a model say: where they are defined, and whether pixels go in."""

import keras

from keras_resnets import UsageError, iter_layers

PIXELS = (0.0, 255.0)


def layer_modules(model: keras.Model) -> list[str]:
    """Modules outside Keras that define the model's layers; importing them registers the layers."""
    modules = {type(layer).__module__: type(layer).__name__ for layer in iter_layers(model)}
    if "__main__" in modules:
        raise UsageError(f"{model.name} has a layer {modules['__main__']} defined in a script; move it into a module")
    return sorted(module for module in modules if module.split(".")[0] != "keras")


def takes_pixels(model: keras.Model) -> bool:
    """Whether a model normalises its images itself, so that pixels from 0 to 255 go in."""
    return any(isinstance(layer, keras.layers.Normalization | keras.layers.Rescaling) for layer in model.layers)
