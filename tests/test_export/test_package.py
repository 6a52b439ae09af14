"""The package as it is imported: each name where it is said to be, and only when it is asked for."""

import importlib

import pytest

import export

pytestmark = pytest.mark.once


def test_every_name_is_there():
    assert sorted(name for names in export._MODULES.values() for name in names) == sorted(export.__all__)
    for module, names in export._MODULES.items():
        for name in names:
            assert getattr(export, name) is getattr(importlib.import_module(f"export.{module}"), name)


def test_another_name_is_not():
    with pytest.raises(AttributeError, match="'export' has no attribute 'quantise'"):
        export.quantise  # noqa: B018 - the look at it is the test
