import pytest

from keras_resnets import UsageError
from recipes.quickstart import MARK, _check_targets


def test_an_interrupted_quickstart_can_be_run_again(tmp_path):
    _check_targets(["resnet8"], tmp_path)
    (tmp_path / "resnet8" / "model.keras").write_text("of the interrupted run")
    _check_targets(["resnet8"], tmp_path)


def test_a_model_that_the_quickstart_did_not_train_is_kept(tmp_path):
    (tmp_path / "resnet20").mkdir()
    (tmp_path / "resnet20" / "model.keras").write_text("precious")
    with pytest.raises(UsageError, match="not the quickstart's"):
        _check_targets(["resnet8", "resnet20"], tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["model.keras", "resnet20"]
    assert not (tmp_path / MARK).exists()
