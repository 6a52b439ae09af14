"""A `.tflite` file as a C array, for a microcontroller without a file system."""

import re
from pathlib import Path

from export.files import replacing
from keras_resnets.errors import UsageError

PER_LINE = 20
KEYWORDS = re.findall(  # of C11 and C++20, and what compilers define in lower case unless they are told not to
    r"\w+",
    """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char8_t char16_t char32_t class co_await
    co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype default delete do
    double dynamic_cast else enum explicit export extern false float for friend goto if inline int long mutable
    namespace new noexcept not not_eq nullptr operator or or_eq private protected public register reinterpret_cast
    linux requires restrict return short signed sizeof static static_assert static_cast struct switch template this
    thread_local throw true try typedef typeid typename union unix unsigned using virtual void volatile wchar_t while
    xor xor_eq
    """,
)

HEADER = """#pragma once

/* {bytes} bytes of {file}, aligned for TensorFlow Lite Micro. */
#ifdef __cplusplus
extern "C" {{
#endif
extern const unsigned char {name}[];
extern const unsigned int {name}_len;
#ifdef __cplusplus
}}
#endif
"""

SOURCE = """#include "{header}"

#ifdef __cplusplus
alignas(16)
#else
_Alignas(16)
#endif
const unsigned char {name}[] = {{
{numbers}
}};
const unsigned int {name}_len = {bytes};
"""


def write_c_array(path: str | Path) -> tuple[Path, Path]:
    """Writes a file as C source and header beside it: net.tflite -> net.cc and net.h, with `net` and `net_len`.

    Args:
        path: The `.tflite` file.

    Returns:
        Paths of source and header; the source compiles as C11 and as C++11.

    Raises:
        UsageError: If there is no such file, or the folder cannot be written.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"no file {path}; `keras-resnets export` writes .tflite files")
    if set(path.name) & set('"\n'):
        raise UsageError(f"C cannot include a file named {path.name!r}: rename it")
    data = path.read_bytes()
    name = array_name(path)
    lines = (data[start : start + PER_LINE] for start in range(0, len(data), PER_LINE))
    numbers = ",\n".join("  " + ", ".join(f"0x{byte:02x}" for byte in line) for line in lines)
    source, header = path.with_suffix(".cc"), path.with_suffix(".h")
    with replacing(source) as source_part, replacing(header) as header_part:
        header_part.write_text(HEADER.format(bytes=len(data), file=path.name, name=name))
        source_part.write_text(SOURCE.format(header=header.name, name=name, numbers=numbers, bytes=len(data)))
    return source, header


def array_name(path: Path) -> str:
    """The name of a file's array: net-8.tflite -> net_8."""
    name = re.sub(r"\W", "_", path.stem, flags=re.ASCII)
    return f"_{name}" if name[0].isdigit() or name in KEYWORDS else name
