import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import keras_resnets
from keras_resnets import UsageError, Variant, create_model, get_variant, list_models
from keras_resnets.registry import register

ROOT = Path(__file__).parents[2]


def test_every_registered_variant_is_exported_under_its_python_name(name):
    variant = get_variant(name)
    assert getattr(keras_resnets, variant.python_name) is variant
    assert variant.name == name == variant.python_name.lower()


def test_all_is_what_the_package_defines():
    public = {key for key, value in vars(keras_resnets).items() if isinstance(value, Variant)}
    assert public <= set(keras_resnets.__all__)
    assert len(public) == len(list_models())
    assert keras_resnets.__all__ == sorted(keras_resnets.__all__)
    for export in keras_resnets.__all__:
        assert hasattr(keras_resnets, export)


def test_every_variant_says_where_it_comes_from(name):
    assert re.search("arXiv:|DOI", get_variant(name).reference)


def test_a_name_can_be_taken_only_once():
    with pytest.raises(ValueError, match="resnet20"):
        register(get_variant("resnet20"))


def test_list_models_filters_and_sorts_naturally():
    names = list_models("resnet*")
    assert names.index("resnet8") < names.index("resnet18") < names.index("resnet110")
    assert all(name.startswith("resnet") for name in names)
    assert list_models("nothing*") == []


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="resnet50"):
        create_model("resnet51")


def test_create_model_passes_options_on():
    model = create_model("resnet20", shortcut="B", classes=7, name="mine")
    assert model.name == "mine"
    assert model.output_shape == (None, 7)
    assert model.get_layer("stage2_block1_proj_conv")


def test_an_unknown_option_lists_the_options():
    with pytest.raises(TypeError, match=r"ResNet50 has no option widht.*widths"):
        keras_resnets.ResNet50(widht=3)


def test_plain_nets_have_no_shortcut_to_choose():
    with pytest.raises(TypeError, match="shortcut"):
        keras_resnets.Plain20(shortcut="A")


def test_version_is_the_changelogs_newest():
    newest = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if re.match(r"## \[\d", line))
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert keras_resnets.__version__ == version("keras-resnets") == declared
    assert newest.startswith(f"## [{declared}]")


def test_import_brings_in_no_backend_but_keras_own():
    code = (
        "import sys, keras; before = set(sys.modules); import keras_resnets; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "assert not new & {'tensorflow', 'jax', 'torch', 'matplotlib', 'sklearn'}, new"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
