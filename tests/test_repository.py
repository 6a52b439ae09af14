"""The README, the constraints and the Makefile keep what they promise."""

import json
import re

import readme
from readme import ROOT

from keras_resnets import list_models
from recipes.commands import COMMANDS


def test_generated_parts_of_the_readmes_are_fresh():
    """If this fails, run `make readme`."""
    for page in readme.PARTS:
        text = page.read_text()
        assert readme.render(page, text) == text
    for file, content in readme.configs().items():
        assert file.read_text() == content


def test_the_schema_of_results_is_fresh():
    """If this fails, run `make readme`."""
    assert readme.SCHEMA.read_text() == readme.schema()


def test_every_network_is_proven():
    """What `make proof` measured, for every registered network. If one is missing, run it again."""
    networks = json.loads(readme.PROOF.read_text())["networks"]
    assert sorted(networks) == sorted(list_models())
    for name, found in networks.items():
        assert all(0 <= found[part] < 1e-4 for part in readme.FOUND), name
        assert found["operations"] > 0, name
        assert found["not_builtin"] == [], name


def test_pictures_of_the_readme_exist():
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme.README.read_text())
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).read_bytes().startswith(b"\x89PNG")


def test_commands_of_the_readme_exist():
    text = readme.README.read_text() + readme.EXPORT.read_text()
    commands = set(re.findall(r"keras-resnets ([a-z]+)", text))
    assert commands <= set(COMMANDS)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", text, re.MULTILINE)) <= targets
    assert {"quickstart", "test"} <= targets


def test_every_constraint_is_one_version_and_no_address():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+]+", pin) for pin in pins)
    assert "torch==2.13.0" in pins


def test_no_configuration_names_an_index():
    for name in ("constraints.txt", "pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text), name
