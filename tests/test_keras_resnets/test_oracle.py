"""Every family against its forward pass written in plain torch, on whichever backend Keras runs.

Equal to one oracle on each backend, the networks are equal across backends.
"""

import keras
import numpy as np
import pytest
import torch
from oracles import Oracle
from tiny import TINY, build_tiny, randomize, run


@pytest.mark.parametrize("key", sorted(TINY))
def test_forward_pass_equals_torch(key):
    case = TINY[key]
    keras.utils.set_random_seed(0)
    model = randomize(build_tiny(key, classifier_activation=None))
    images = np.random.default_rng(1).normal(size=(4, *model.input_shape[1:])).astype("float32")
    found = run(model, images)
    between_images = np.abs(found - np.roll(found, 1, axis=0)).mean()
    assert between_images > 1e-3 * np.abs(found).max(), "an oracle that compares constants proves nothing"
    expected = case.forward(Oracle(model, case.epsilon), torch.tensor(images).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-3 * between_images, rtol=1e-5)
