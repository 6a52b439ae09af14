"""From a trained Keras 3 model to `.tflite` files whose accuracy, size and speed are known.

from export import to_tflite

to_tflite("runs/r20/model.keras", "r20.tflite", mode="int8", calibration=x_train[:200])
"""

from export.bench import Measurement, measure
from export.c_array import write_c_array
from export.calibrate import Calibration, pick_calibration, read_photos
from export.convert import Exported, export_modes, load_model, to_tflite
from export.diagnose import LayerNoise, diagnose
from export.metadata import Metadata
from export.qat import quantize_aware
from export.quantize import FAST_MODES, MODES, Mode, get_mode
from export.search import search_plan
from export.tfmot import TfmotModel, cluster, prune
from export.verify import Verification, verify

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
