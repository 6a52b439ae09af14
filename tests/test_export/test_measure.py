import numpy as np
import pytest
from tiny import build_tiny

from export import export_modes, measure
from export.environment import describe_environment
from export.runtimes.litert import ROUNDS, RUNS
from keras_resnets import UsageError
from recipes.data import load

pytestmark = pytest.mark.once  # files are measured in LiteRT


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    outs = {mode: folder / f"net_{mode}.tflite" for mode in ("float32", "float16")}
    return [file.path for file in export_modes(build_tiny("plain"), outs)]


def test_measure_counts_accuracy_and_runs(files, blobs_file):
    data = load(str(blobs_file))
    steps = []
    found = measure(files, data.x_test, data.y_test, on_step=lambda: steps.append(1))
    assert [m.path for m in found] == files
    assert len(steps) == len(files) + ROUNDS
    for m in found:
        assert m.accuracy == (m.predictions == data.y_test).mean()
        assert RUNS[0] * ROUNDS <= m.runs <= RUNS[1] * ROUNDS
        assert 0 < m.p50_ms <= m.p90_ms
        assert m.bytes == m.path.stat().st_size


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [((3, 8, 8, 3), [0, 1, 2], r"takes images of shape \(16, 16, 3\)"), ((3, 16, 16, 3), [0, 1, 4], "has 4 classes")],
)
def test_data_that_does_not_fit_the_file_is_one_line(files, shape, labels, message):
    with pytest.raises(UsageError, match=message):
        measure(files, np.zeros(shape, np.uint8), np.array(labels))


def test_environment_names_what_measured():
    environment = describe_environment()
    assert {"processor", "cores", "python", "keras", "ai-edge-litert"} <= set(environment)
    assert all(environment.values())
