"""Feature maps by stage."""

import keras
import numpy as np
import pytest
from tiny import build_tiny

import keras_resnets
from keras_resnets import UsageError, feature_extractor, get_variant
from keras_resnets.summary import read_figures

pytestmark = pytest.mark.once


def test_every_family_gives_its_stages(tiny):
    """Each map is the output of a layer of its stage, and a later stage never strides less."""
    extractor = feature_extractor(tiny)
    images = np.random.default_rng(0).normal(size=(1, *tiny.input_shape[1:])).astype("float32")
    maps = extractor(images)
    assert list(extractor.strides) == list(extractor.output)
    assert list(extractor.strides.values()) == sorted(extractor.strides.values())
    for stage, found in maps.items():
        assert len(found.shape) == 4
        assert np.isfinite(keras.ops.convert_to_numpy(found)).all()
        assert any(layer.name.startswith(f"{stage}_") for layer in tiny.layers)


def test_strides_and_shapes_of_the_papers():
    figures = read_figures()
    assert figures["resnet50"]["strides"] == {"stem": 4, "stage1": 4, "stage2": 8, "stage3": 16, "stage4": 32}
    assert figures["resnet50"]["stages"]["stage3"] == "14x14x1024"
    assert figures["vgg16"]["stages"]["stage5"] == "14x14x512"
    assert figures["densenet121"]["stages"]["stage4"] == "7x7x1024"
    assert figures["resnet20"]["strides"] == {"stem": 1, "stage1": 1, "stage2": 2, "stage3": 4}
    for name, figure in figures.items():
        assert max(figure["strides"].values()) <= get_variant(name).spec.stride, name


def test_stages_are_chosen_and_shared_with_the_network():
    model = build_tiny("cifar_b")
    extractor = feature_extractor(model, ["stage2"])
    assert list(extractor.output) == ["stage2"]
    assert extractor.strides == {"stage2": 2}
    assert extractor.get_layer("stem_conv") is model.get_layer("stem_conv")


def test_a_loaded_headless_network_of_any_size_gives_its_stages(tmp_path):
    build_tiny("basic", include_top=False, input_shape=(None, None, 3)).save(tmp_path / "model.keras")
    extractor = feature_extractor(keras.models.load_model(tmp_path / "model.keras"))
    maps = extractor(np.zeros((1, 24, 40, 3), "float32"))
    assert {stage: tuple(found.shape[1:3]) for stage, found in maps.items()} == {
        stage: (24 // stride, 40 // stride) for stage, stride in extractor.strides.items()
    }


def test_a_stage_that_is_not_there_is_one_line():
    with pytest.raises(UsageError, match="has no stage stage9; its stages are stem, stage1, stage2"):
        feature_extractor(build_tiny("cifar_b"), ["stage1", "stage9"])
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(UsageError, match="no layers named stage1_"):
        feature_extractor(keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs)))
    with pytest.raises(UsageError, match="'resnet50' has no layers named stage1_"):
        feature_extractor("resnet50")


def test_networks_deeper_than_python_allows_are_opened_and_loaded(tmp_path):
    """A stage at whose end the graph is deeper than Python's recursion, as in ResNet-1202."""
    model = build_tiny("cifar_a", depths=(200,), widths=(1,), input_shape=(4, 4, 3))
    assert feature_extractor(model, "stage1").strides == {"stage1": 1}
    model.save(tmp_path / "model.keras")
    with keras_resnets.deep_graphs():
        loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.count_params() == model.count_params()


def test_extractor_feeds_a_detector():
    """Maps of one extractor, brought to one size, make a trainable model."""
    extractor = feature_extractor(keras_resnets.ResNet8(include_top=False), ["stage2", "stage3"])
    inputs = keras.Input((32, 32, 3))
    maps = extractor(inputs)
    x = keras.layers.Concatenate()([maps["stage2"], keras.layers.UpSampling2D(2)(maps["stage3"])])
    assert keras.Model(inputs, x).output_shape == (None, 16, 16, 96)
