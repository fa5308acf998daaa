# SPDX-License-Identifier: Apache-2.0
"""Makes the CUDA libraries of NVIDIA's wheels findable; used only when a CUDA provider is asked for.

ONNX Runtime's CUDA provider names the libraries it needs (libcudart.so.13 and so on) without saying where they are,
and pip puts them where the dynamic linker does not look. A library that is already loaded is found by its name
alone, so loading them first, in order, is enough. Nothing is imported, no environment variable is set.
"""

from __future__ import annotations

import ctypes
import importlib.util
import struct
from pathlib import Path
from typing import BinaryIO

__all__ = ["preload_cuda"]

# Not named by the provider but opened by it while it runs, where they are installed.
_OPENED_LATER = ("libcudnn.so", "libcufft.so", "libnvrtc.so", "libnvJitLink.so")


def preload_cuda(provider: Path) -> tuple[str, ...]:
    """Load what the provider's library needs and NVIDIA's wheels hold; return the paths loaded, in order.

    What the wheels do not hold is left to the dynamic linker: on a machine with a system-wide CUDA nothing is loaded
    here. A library that cannot be loaded is left out; ONNX Runtime then says which one it misses.
    """
    wheels = _wheel_libraries()
    loaded: list[str] = []
    wanted = list(_needed(provider))
    homes = {wheels[name].parent for name in wanted if name in wheels}
    for stem in _OPENED_LATER:
        versions = [name for name in wheels if name.startswith(stem + ".")]
        # CUDA 12 has a folder per library, CUDA 13 one for all: take the one that the needed ones came from.
        near = [name for name in versions if wheels[name].parent in homes]
        loose = [name for name in versions if not wheels[name].parent.parent.name.startswith("cu1")]
        wanted += (near or loose)[-1:]
    visited: set[str] = set()
    for name in wanted:
        _load(name, wheels, visited, loaded)
    return tuple(loaded)


def _load(name: str, wheels: dict[str, Path], visited: set[str], loaded: list[str]) -> None:
    """Load one library after those it needs."""
    if name in visited or name not in wheels:
        return
    visited.add(name)
    for other in _needed(wheels[name]):
        _load(other, wheels, visited, loaded)
    try:
        ctypes.CDLL(str(wheels[name]))
    except OSError:
        return
    loaded.append(str(wheels[name]))


def _wheel_libraries() -> dict[str, Path]:
    """Return the libraries of all nvidia-* wheels by file name, which is the name they are asked for by."""
    try:
        spec = importlib.util.find_spec("nvidia")
    except ValueError:
        return {}
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return {path.name: path for place in places for path in sorted(Path(place).glob("*/lib/lib*.so.*"))}


def _needed(library: Path) -> tuple[str, ...]:
    """Return the names in a library's DT_NEEDED entries: 64-bit little-endian ELF; () for anything else."""
    try:
        with library.open("rb") as stream:
            header = stream.read(64)
            if len(header) < 64 or header[:6] != b"\x7fELF\x02\x01":
                return ()
            (table,) = struct.unpack_from("<Q", header, 32)
            size, count = struct.unpack_from("<HH", header, 54)
            stream.seek(table)
            headers = [stream.read(size) for _ in range(count)]
            # Of each segment: type, offset in the file, address in memory, size in the file.
            segments = [struct.unpack_from("<I4xQQ8xQ", each) for each in headers]
            dynamic = next((each for each in segments if each[0] == 2), None)
            if dynamic is None:
                return ()
            stream.seek(dynamic[1])
            entries = list(struct.iter_unpack("<qQ", stream.read(dynamic[3] // 16 * 16)))
            strings = next(value for tag, value in entries if tag == 5)
            home = next(each for each in segments if each[0] == 1 and each[2] <= strings < each[2] + each[3])
            return tuple(_text(stream, strings - home[2] + home[1] + value) for tag, value in entries if tag == 1)
    except (OSError, OverflowError, StopIteration, ValueError, struct.error):
        return ()


def _text(stream: BinaryIO, offset: int) -> str:
    stream.seek(offset)
    return stream.read(256).split(b"\0", 1)[0].decode(errors="replace")
