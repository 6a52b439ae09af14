"""From a trained Keras 3 model to `.tflite` files whose accuracy, size and speed are known.

from export import to_tflite

to_tflite("runs/r20/model.keras", "r20.tflite", mode="int8", calibration=x_train[:200])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.bench import Measurement, measure
    from export.c_array import write_c_array
    from export.calibrate import Calibration, pick_calibration, read_photos
    from export.convert import Exported, export_modes, to_tflite
    from export.diagnosis import LayerNoise, diagnose
    from export.loading import load_model
    from export.metadata import Metadata
    from export.qat import quantize_aware
    from export.quantize import FAST_MODES, MODES, Mode, get_mode
    from export.search import search_plan
    from export.tfmot import TfmotModel, cluster, prune
    from export.verification import Verification, verify

__all__ = [
    "FAST_MODES",
    "MODES",
    "Calibration",
    "Exported",
    "LayerNoise",
    "Measurement",
    "Metadata",
    "Mode",
    "TfmotModel",
    "Verification",
    "cluster",
    "diagnose",
    "export_modes",
    "get_mode",
    "load_model",
    "measure",
    "pick_calibration",
    "prune",
    "quantize_aware",
    "read_photos",
    "search_plan",
    "to_tflite",
    "verify",
    "write_c_array",
]

# Read when they are asked for: a training takes nothing but `load_model`, and should not wait for LiteRT.
_MODULES = {
    "bench": ["Measurement", "measure"],
    "c_array": ["write_c_array"],
    "calibrate": ["Calibration", "pick_calibration", "read_photos"],
    "convert": ["Exported", "export_modes", "to_tflite"],
    "diagnosis": ["LayerNoise", "diagnose"],
    "loading": ["load_model"],
    "metadata": ["Metadata"],
    "qat": ["quantize_aware"],
    "quantize": ["FAST_MODES", "MODES", "Mode", "get_mode"],
    "search": ["search_plan"],
    "tfmot": ["TfmotModel", "cluster", "prune"],
    "verification": ["Verification", "verify"],
}


if not TYPE_CHECKING:  # to which every name would be one of the package's

    def __getattr__(name: str) -> Any:
        module = next((module for module, names in _MODULES.items() if name in names), None)
        if module is None:
            raise AttributeError(f"module 'export' has no attribute {name!r}")
        return getattr(import_module(f"export.{module}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
