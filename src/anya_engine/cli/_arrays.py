# SPDX-License-Identifier: Apache-2.0
"""Arrays in and out of .npz files: never pickled, never half written, nothing converted silently."""

from __future__ import annotations

import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from .._info import TensorSpec
from ._text import CliError

__all__ = ["Arrays", "leading_rows", "read_inputs", "read_one", "replacing", "write_npz", "write_text"]

Arrays: TypeAlias = dict[str, np.ndarray[Any, Any]]

_BROKEN = (ValueError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)


def read_inputs(path: str, specs: Sequence[TensorSpec]) -> Arrays:
    """The arrays of an .npz, by the names of a model's inputs. One array without a name is that of the one input.

    Types and shapes are the engine's to check; only bfloat16, which .npz does not know, is taken as float32 here.
    """
    arrays = _read(path)
    names = [spec.name for spec in specs]
    if len(names) == 1 and list(arrays) == ["arr_0"]:
        arrays = {names[0]: arrays["arr_0"]}
    for name in names:
        if name not in arrays:
            raise CliError(f"{path} has no array {name!r}; the model takes {names}, the file holds {list(arrays)}")
    for name in arrays:
        if name not in names:
            raise CliError(f"{path} holds an array {name!r} that is no input; the model takes {names}")
    for spec in specs:
        if spec.dtype == "bfloat16":
            arrays[spec.name] = _to_bfloat16(path, spec.name, arrays[spec.name])
    return arrays


def read_one(path: str) -> np.ndarray[Any, Any]:
    """The one array of an .npy or .npz."""
    arrays = _read(path)
    if len(arrays) != 1:
        raise CliError(f"{path} holds {len(arrays)} arrays; one is wanted")
    return next(iter(arrays.values()))


def _read(path: str) -> Arrays:
    try:
        with Path(path).open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):  # an .npy
                return {"arr_0": loaded}
            with loaded:
                return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror or error}") from error
    except MemoryError as error:
        raise CliError(f"cannot read {path}: no memory for what it says it holds") from error
    except _BROKEN as error:
        if "pickle" in str(error):
            why = "it holds pickled objects, which are never opened, or is no NumPy file; save plain arrays with savez"
        else:
            why = str(error) or type(error).__name__
        raise CliError(f"cannot read {path} as .npz: {why}") from error


def _to_bfloat16(path: str, name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        raise CliError(f"input {name!r} is bfloat16, which needs a package: pip install ml_dtypes") from error
    if array.dtype != np.float32:
        raise CliError(f"{path}: array {name!r} is {array.dtype}; give a bfloat16 input as float32")
    narrow: np.ndarray[Any, Any] = array.astype(bfloat16)
    if not np.array_equal(narrow.astype(np.float32), array, equal_nan=True):
        raise CliError(f"{path}: array {name!r} has values that bfloat16 does not hold; round them first")
    return narrow


def leading_rows(arrays: Mapping[str, np.ndarray[Any, Any]]) -> int | None:
    """How many rows all arrays have; None when they do not agree or have no first axis."""
    lengths = {array.shape[0] if array.ndim else None for array in arrays.values()}
    return lengths.pop() if len(lengths) == 1 else None


@contextmanager
def replacing(path: str) -> Iterator[Callable[[Callable[[IO[bytes]], None]], None]]:
    """A place for a file that appears whole or not at all. The place is taken now, so a bad path shows before the work.

    The body calls what it is given with what writes the file; without that nothing is replaced.
    """
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise CliError(f"cannot write {path}: it is there and no regular file")
    temporary = target.with_name(f".anya-{secrets.token_hex(6)}.tmp")
    written = False
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:

            def write(writer: Callable[[IO[bytes]], None]) -> None:
                nonlocal written
                try:
                    writer(file)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError as error:
                    raise CliError(f"cannot write {path}: {error.strerror or error}") from error
                written = True

            yield write
        if written:
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(file: IO[bytes], text: str) -> None:
    """Write text as UTF-8."""
    file.write(text.encode("utf-8"))


def write_npz(file: IO[bytes], arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write arrays under their names, whatever those are (numpy.savez has arguments of its own among them)."""
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, _storable(name, array), allow_pickle=False)


def _storable(name: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    if array.dtype == object:
        fixed = array.astype(np.str_)
        if not np.array_equal(fixed.astype(object), array):  # NumPy's fixed text drops what ends in NUL
            raise CliError(f"output {name!r} has text that ends in a NUL character, which .npz cannot hold")
        return fixed
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
