"""Where the layers of a model are defined."""

import keras

from keras_resnets import UsageError, iter_layers


def layer_modules(model: keras.Model) -> list[str]:
    """Modules outside Keras that define the model's layers; importing them registers the layers."""
    modules = {type(layer).__module__: type(layer).__name__ for layer in iter_layers(model)}
    if "__main__" in modules:
        raise UsageError(f"{model.name} has a layer {modules['__main__']} defined in a script; move it into a module")
    return sorted(module for module in modules if module.split(".")[0] != "keras")
