"""What the converter leaves out of a `.tflite` file, written into the flatbuffer itself."""

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

SIGNATURE = "serving_default"


def add_signature(data: bytes) -> bytes:
    """Names the input and the output of a file, "image" and "output", for runtimes that look them up by name.

    Args:
        data: A `.tflite` file with one input and one output.

    Returns:
        The file with one signature, `SIGNATURE`.
    """
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    graph = model.subgraphs[0]
    signature = schema.SignatureDefT()
    signature.signatureKey = SIGNATURE
    signature.subgraphIndex = 0
    signature.inputs = [_entry("image", graph.inputs[0])]
    signature.outputs = [_entry("output", graph.outputs[0])]
    model.signatureDefs = [signature]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def _entry(name: str, tensor: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = int(tensor)
    return entry
