# SPDX-License-Identifier: Apache-2.0
"""Finds the installed ONNX Runtime's library without importing ONNX Runtime."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterable
from os import PathLike
from pathlib import Path

from .errors import ConfigError

__all__ = ["FLOOR", "RuntimeLibrary", "find_runtime"]

# The oldest ONNX Runtime that guards external data well enough to be trusted with it.
FLOOR = (1, 28)

# The wheels that put a library into the same folder, onnxruntime/capi.
_DISTRIBUTIONS = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-openvino",
    "onnxruntime-training",
    "onnxruntime-migraphx",
    "onnxruntime-rocm",
    "onnxruntime-qnn",
    "onnxruntime-cann",
    "ort-nightly",
    "ort-nightly-gpu",
)
_CUDA_PROVIDER = "libonnxruntime_providers_cuda.so"
_INSTALL = "pip install 'anya-engine[cpu]' (or 'anya-engine[gpu]')"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeLibrary:
    """One libonnxruntime on this machine.

    Attributes:
        path: Absolute path of the library.
        version: Its version as its distribution or its name tells; None when neither does.
        distribution: The wheel it came from; None for one given by path or installed otherwise.
        note: What the user should know of the choice; "" for nothing.
    """

    path: str
    version: str | None = None
    distribution: str | None = None
    note: str = ""

    @property
    def folder(self) -> Path:
        """Where the library's providers lie."""
        return Path(self.path).parent

    @property
    def has_cuda(self) -> bool:
        """Whether its CUDA provider lies beside it."""
        return (self.folder / _CUDA_PROVIDER).is_file()


def find_runtime(explicit: str | PathLike[str] | None = None) -> RuntimeLibrary:
    """Return the library at `explicit`, or the installed wheel's; raise `ConfigError` when there is none to use."""
    if explicit is not None:
        return _checked(_at(Path(explicit)))
    folder = _capi_folder()
    libraries = sorted(folder.glob("libonnxruntime.so*"))
    if not libraries:
        raise ConfigError(
            f"{folder} holds no libonnxruntime.so; was one of two ONNX Runtime wheels uninstalled? Reinstall the "
            f"other: pip install --force-reinstall, or {_INSTALL}",
            field="runtime",
        )
    return _checked(_choose(libraries, list(_installed(folder))))


def _at(path: Path) -> RuntimeLibrary:
    if not path.exists():
        raise ConfigError(f"runtime: {path} does not exist", field="runtime", value=str(path))
    if not path.is_file():
        raise ConfigError(f"runtime: {path} is no regular file", field="runtime", value=str(path))
    return RuntimeLibrary(path=str(path.absolute()), version=_version_in_name(path))


def _capi_folder() -> Path:
    try:
        spec = importlib.util.find_spec("onnxruntime")
    except ValueError:  # a module of that name without a spec, put into sys.modules by hand
        spec = None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise ConfigError(f"no ONNX Runtime is installed: {_INSTALL}", field="runtime")
    for place in places:
        if (Path(place) / "capi").is_dir():
            return Path(place).absolute() / "capi"
    raise ConfigError(
        f"{places[0]} is named onnxruntime but is not ONNX Runtime: rename it, or {_INSTALL}", field="runtime"
    )


def _installed(folder: Path) -> Iterable[importlib.metadata.Distribution]:
    """Yield the distributions that wrote into this very folder."""
    for name in _DISTRIBUTIONS:
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        home = Path(str(distribution.locate_file("onnxruntime"))) / "capi"
        if home.absolute() == folder:
            yield distribution


def _choose(libraries: list[Path], distributions: list[importlib.metadata.Distribution]) -> RuntimeLibrary:
    if not distributions:
        # Built from source, or put there by hand. The longest name is the file, shorter ones are links to it.
        best = max(libraries, key=lambda library: (_numbers(_version_in_name(library) or "0"), len(library.name)))
        return RuntimeLibrary(path=str(best), version=_version_in_name(best))
    if len(distributions) == 1:
        only = distributions[0]
        return RuntimeLibrary(path=str(_of(only, libraries)), version=only.version, distribution=only.name)
    return _among_several(libraries, distributions)


def _of(distribution: importlib.metadata.Distribution, libraries: list[Path]) -> Path:
    """Return the library that bears the distribution's version; any other when none does."""
    return next((library for library in libraries if _version_in_name(library) == distribution.version), libraries[-1])


def _among_several(libraries: list[Path], distributions: list[importlib.metadata.Distribution]) -> RuntimeLibrary:
    """Several wheels share the folder, and each overwrote files of the others: take one whose library is whole."""
    whole = []
    for distribution in distributions:
        files = {Path(str(distribution.locate_file(file))).absolute(): file for file in distribution.files or ()}
        for library in libraries:
            if library in files and _is_recorded(library, files[library]):
                whole.append((distribution, library, any(path.name == _CUDA_PROVIDER for path in files)))
    names = " and ".join(f"{each.name} {each.version}" for each in distributions)
    if not whole:
        raise ConfigError(
            f"{names} are both installed and overwrote each other: uninstall them all, then {_INSTALL}", field="runtime"
        )
    has_cuda = (libraries[0].parent / _CUDA_PROVIDER).is_file()
    # Who installed the GPU wheel wants it, and it runs on the CPU as well.
    distribution, library, _ = max(whole, key=lambda each: (each[2] and has_cuda, _numbers(each[0].version)))
    return RuntimeLibrary(
        path=str(library),
        version=distribution.version,
        distribution=distribution.name,
        note=f"{names} are both installed in one folder; using the library of {distribution.name} "
        f"{distribution.version}. Uninstall them all and install one.",
    )


def _is_recorded(library: Path, file: importlib.metadata.PackagePath) -> bool:
    """Whether the bytes on disk are those the wheel brought, by the size and hash in its RECORD."""
    if file.hash is None or (file.size is not None and file.size != library.stat().st_size):
        return False
    with library.open("rb") as stream:
        digest = hashlib.file_digest(stream, file.hash.mode).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == file.hash.value


def _checked(library: RuntimeLibrary) -> RuntimeLibrary:
    if library.version is not None and _numbers(library.version) < FLOOR:
        floor = ".".join(map(str, FLOOR))
        wheel = library.distribution or "onnxruntime"
        raise ConfigError(
            f"ONNX Runtime {library.version} ({library.path}) is older than {floor}, the oldest that is safe: "
            f"pip install --upgrade '{wheel}>={floor}'",
            field="runtime",
            limit=floor,
            value=library.version,
        )
    return library


def _version_in_name(library: Path) -> str | None:
    found = re.fullmatch(r"libonnxruntime\.so\.(\d+\.\d+(?:\.\d+)*)", library.resolve().name)
    return found[1] if found else None


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: enough to compare releases."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
