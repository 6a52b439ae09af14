import re
import shutil
import subprocess

import numpy as np
import pytest

from export import write_c_array
from keras_resnets import UsageError

pytestmark = pytest.mark.once  # bytes in, bytes out


@pytest.mark.parametrize("stem", ["net", "8-bit net", "float"])
def test_the_array_holds_the_bytes_of_the_file(tmp_path, stem):
    path = tmp_path / f"{stem}.tflite"
    path.write_bytes(bytes(range(256)))
    source, header = write_c_array(path)
    text = source.read_text()
    (body,) = re.findall(r"\{(.*?)\}", text, re.DOTALL)
    assert bytes(int(word, 16) for word in body.split(",")) == path.read_bytes()
    name = {"net": "net", "8-bit net": "_8_bit_net", "float": "_float"}[stem]
    assert f"const unsigned char {name}[]" in text
    assert f"{name}_len = 256;" in text
    assert f"extern const unsigned char {name}[];" in header.read_text()
    assert f'#include "{header.name}"' in text


@pytest.mark.parametrize(("language", "standard"), [("c", "c11"), ("c++", "c++11"), ("c", "gnu11"), ("c++", "gnu++17")])
@pytest.mark.parametrize("stem", ["net", "linux", "unix", "ALIGNED", "a'b%s"])
def test_the_source_compiles(tmp_path, language, standard, stem):
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("there is no C compiler on this machine")
    path = tmp_path / f"{stem}.tflite"
    path.write_bytes(np.random.default_rng(0).bytes(1000))
    source, _ = write_c_array(path)
    command = [compiler, "-x", language, f"-std={standard}", "-Wall", "-Werror", "-c", source, "-o", tmp_path / "net.o"]
    subprocess.run(command, check=True)
    assert path.read_bytes() in (tmp_path / "net.o").read_bytes()


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        write_c_array(tmp_path / "net.tflite")


def test_a_name_that_c_cannot_include_is_one_line(tmp_path):
    path = tmp_path / 'a"b.tflite'
    path.write_bytes(b"x")
    with pytest.raises(UsageError, match="rename it"):
        write_c_array(path)
    assert [one.name for one in tmp_path.iterdir()] == [path.name]
