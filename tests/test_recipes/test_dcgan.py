import keras
import numpy as np
import pytest

from keras_resnets import UsageError
from recipes.dcgan import SpectralConv2D, conv_discriminator, conv_generator

SHAPES = [(28, 28, 1), (32, 32, 3), (64, 64, 3), (16, 24, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_players_meet_in_the_image(shape):
    generator, discriminator = conv_generator(shape, 10, 4), conv_discriminator(shape, 4)
    assert generator.output_shape == (None, *shape)
    assert discriminator.output_shape == (None, 1)
    images = keras.ops.convert_to_numpy(generator(np.random.default_rng(0).normal(size=(2, 10)).astype("float32")))
    assert np.abs(images).max() <= 1
    assert tuple(discriminator(images).shape) == (2, 1)


@pytest.mark.parametrize("spectral", [False, True])
def test_built_as_the_paper_says(spectral):
    generator, discriminator = conv_generator((64, 64, 3), 100, 128), conv_discriminator((64, 64, 3), 128)
    if spectral:
        discriminator = conv_discriminator((64, 64, 3), 128, spectral=True)
    for model in (generator, discriminator):
        kinds, names = {type(layer).__name__ for layer in model.layers}, {layer.name for layer in model.layers}
        assert not any("Pool" in kind or kind == "Dense" for kind in kinds)
        for layer in model.layers:
            if "Conv" in type(layer).__name__:
                kernel = keras.ops.convert_to_numpy(layer.kernel)
                assert kernel.std() == pytest.approx(0.02, rel=0.1)
                assert layer.use_bias != (layer.name.replace("_conv", "_bn") in names)
    widths = [layer.filters for layer in generator.layers if isinstance(layer, keras.layers.Conv2DTranspose)]
    assert widths == [1024, 512, 256, 128, 3]
    assert [layer.filters for layer in discriminator.layers if isinstance(layer, keras.layers.Conv2D)] == [
        128,
        256,
        512,
        1024,
        1,
    ]
    normed = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in discriminator.layers)
    assert normed == (0 if spectral else 3)
    slopes = {layer.negative_slope for layer in discriminator.layers if isinstance(layer, keras.layers.LeakyReLU)}
    assert slopes == {0.2}


def test_sides_that_cannot_be_halved():
    with pytest.raises(UsageError, match="even sides from 8"):
        conv_generator((27, 28, 1), 10, 4)


class TestSpectralConv2D:
    def layer(self):
        layer = SpectralConv2D(6, 3, use_bias=False)
        layer.build((None, 8, 8, 4))
        layer.kernel.assign(np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype("float32"))
        return layer

    def test_divides_by_the_largest_singular_value(self):
        layer = self.layer()
        images = np.random.default_rng(1).normal(size=(2, 8, 8, 4)).astype("float32")
        for _ in range(100):
            found = layer(images, training=True)
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        largest = np.linalg.svd(kernel.reshape(-1, 6), compute_uv=False)[0]
        expected = keras.ops.conv(images, kernel / largest)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(expected), rtol=1e-3, atol=1e-4
        )

    def test_only_training_moves_the_estimate(self):
        layer = self.layer()
        images = np.zeros((1, 8, 8, 4), "float32")
        before = keras.ops.convert_to_numpy(layer.left).copy()
        layer(images)
        assert np.array_equal(before, keras.ops.convert_to_numpy(layer.left))
        layer(images, training=True)
        assert not np.array_equal(before, keras.ops.convert_to_numpy(layer.left))

    def test_larger_kernels_change_nothing(self):
        layer = self.layer()
        images = np.random.default_rng(1).normal(size=(2, 8, 8, 4)).astype("float32")
        before = keras.ops.convert_to_numpy(layer(images))
        layer.kernel.assign(layer.kernel * 3)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(images)), before, rtol=1e-4, atol=1e-5)
