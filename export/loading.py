"""Reading a trained model; trainings do so, too, which need nothing else of the export."""

from pathlib import Path

import keras

from keras_resnets.errors import UsageError, first_line
from keras_resnets.layers import deep_graphs


def load_model(path: str | Path) -> keras.Model:
    """Loads a `.keras` file without running any code that it might hold.

    Raises:
        UsageError: If there is no such file or it is no Keras model.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no model file {path}; `keras-resnets train` writes one")
    try:
        with deep_graphs():
            return keras.models.load_model(path, compile=False)
    except Exception as error:  # a foreign file can fail anywhere in Keras
        raise UsageError(f"{path} cannot be loaded as a Keras model: {first_line(error)}") from error
