import numpy as np
import pytest
from scipy.linalg import sqrtm

from keras_resnets import UsageError, create_model
from recipes.scores import frechet_distance, head_of, precision_and_recall, summarize


def features(count, seed, shift=0.0, scale=1.0):
    return (np.random.default_rng(seed).normal(shift, scale, (count, 5)) @ np.diag([1, 2, 3, 0.5, 0])).astype("float32")


class TestFrechetDistance:
    def test_by_the_square_root_of_a_matrix(self):
        real, fake = features(200, 0), features(150, 1, 0.3, 1.5)
        first, second = (np.cov(one.astype(float), rowvar=False) + 1e-9 * np.eye(5) for one in (real, fake))
        expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(
            first + second - 2 * sqrtm(first @ second).real
        )
        assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-3)

    def test_of_normal_distributions(self):
        rng = np.random.default_rng(0)
        real, fake = rng.normal(0, 1, (100_000, 1)), rng.normal(3, 2, (100_000, 1))
        assert frechet_distance(real, fake) == pytest.approx(9 + 1 + 4 - 2 * 2, rel=0.02)

    def test_of_itself_is_zero(self):
        assert frechet_distance(features(100, 0), features(100, 0)) == pytest.approx(0, abs=1e-4)


class TestPrecisionAndRecall:
    def brute(self, images, others):
        distances = np.linalg.norm(others[:, None] - others[None], axis=-1)
        reach = np.sort(distances, axis=1)[:, 3]  # the nearest is the point itself
        return np.mean([(np.linalg.norm(others - image, axis=1) <= reach).any() for image in images])

    def test_by_all_distances(self):
        real, fake = features(80, 0), features(60, 1, 0.5, 1.5)
        precision, recall = precision_and_recall(real, fake)
        assert 0 < precision < 1
        assert precision == pytest.approx(self.brute(fake, real))
        assert recall == pytest.approx(self.brute(real, fake))

    def test_one_mode_is_precise_and_forgets(self):
        real = np.concatenate([features(50, 0), features(50, 1, 100)])
        precision, recall = precision_and_recall(real, features(100, 2))
        assert precision > 0.8
        assert recall < 0.6

    def test_of_itself(self):
        assert precision_and_recall(features(50, 0), features(50, 0)) == (1, 1)


def test_head_is_the_last_dense_layer():
    assert head_of(create_model("lenet5", classes=4)).name == "head_dense"
    with pytest.raises(UsageError, match="no dense layer"):
        head_of(create_model("squeezenet1_1_cifar", classes=4))


def test_summarize():
    assert summarize([1.0, 3.0]) == {"mean": 2.0, "std": pytest.approx(np.sqrt(2))}
    assert summarize([1.0]) == {"mean": 1.0, "std": 0.0}
