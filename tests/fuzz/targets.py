# SPDX-License-Identifier: Apache-2.0
"""What is fuzzed: from bytes to one question, and what must become of it. Pure but for the engine that is asked."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ml_dtypes
import numpy as np
from fuzz.graphs import Graphs
from fuzz.signed import Bundles, Registries, Signed, Statements
from models.make_models import MODELS

import anya_engine as anya
from anya_engine.rules import Schema

T = TypeVar("T")

LIMIT = 1 << 20
CONFIG = anya.ModelConfig(instances=1, max_request_bytes=LIMIT, batching=anya.BatchingConfig(max_batch_size=4))


class Bytes:
    """Takes decisions from bytes, front to back; when they run out every decision is the first one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, end: int) -> int:
        """A number below `end`, which is at most 65536."""
        two = self._data[self._at : self._at + 2]
        self._at += 2
        return int.from_bytes(two, "little") % end

    def one_of(self, choices: Sequence[T]) -> T:
        """One of these."""
        return choices[self.number(len(choices))]

    def rest(self) -> bytes:
        """What is left."""
        return self._data[self._at :]


# --- descriptors

#: model -> element type, shape (None: free), what it answers with
SUBJECTS: Mapping[str, tuple[Any, tuple[int | None, ...], Callable[[Any], Any]]] = {
    "unnamed_batch": (np.float32, (None, 3), lambda x: x + x),
    "sequence": (np.float32, (None, None), lambda x: x + x),
    "identity_int64": (np.int64, (None, 3), lambda x: x),
    "identity_float16": (np.float16, (None, 3), lambda x: x),
    "identity_bool": (np.bool_, (None, 3), lambda x: x),
    "identity_bfloat16": (ml_dtypes.bfloat16, (None, 3), lambda x: x),
}
TYPES = ("f4", ">f4", "f8", "f2", "i8", ">i8", "i4", "u1", "u8", "?", "S1", "U2", "V3", "O", "M8[s]", "c8", "g")
SIZES = (1, 2, 3, 4, 5, 0, 64, 300, 1 << 16, 1 << 31, (1 << 31) + 1, 1 << 33, 1 << 40, (1 << 63) - 1)
STRIDES = (4, 8, 12, 2, 1, 0, -4, -12, 3, 7, 16, -1, 1 << 12, -(1 << 12))
BUFFER = np.random.default_rng(1).integers(0, 120, 1 << 14, np.uint8).tobytes()  # small numbers of every type


class HasArray:
    """Something with `__array__` alone."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.array


class Descriptors:
    """Arrays of every type, shape and stride: read right, or refused by their descriptor."""

    def __init__(self) -> None:
        self._engine = anya.Engine()
        for name in SUBJECTS:
            self._engine.load(name, MODELS[name](), config=CONFIG)

    def close(self) -> None:
        """Every accepted request has ended, and well."""
        for model in self._engine.stats().models:
            assert model.accepted == model.ended["OK"], model.ended
        self._engine.close()

    def __call__(self, data: bytes) -> str:
        """One array asked; what became of it."""
        source = Bytes(data)
        name = source.one_of(list(SUBJECTS))
        x = self._array(source, name)
        if x is None:
            return "no array"
        wanted = verdict(name, x)
        given = source.one_of([x, HasArray(x)])
        ask = source.one_of([self._engine.infer, self._submit, self._await])
        try:
            answer = ask(name, {"x": given})
        except anya.InvalidInput as error:
            assert wanted is not None, f"refused a good array: {error}"
            assert isinstance(error, wanted), f"{type(error).__name__}, not {wanted.__name__}: {error}"
            assert len(str(error)) < 400
            return error.code
        assert wanted is None, f"took {x.dtype} {x.shape} {x.strides}"
        with np.errstate(all="ignore"):
            right = SUBJECTS[name][2](np.ascontiguousarray(x))
        assert answer["y"].tobytes() == right.tobytes(), f"misread {x.dtype} {x.shape} {x.strides}"
        return "answered"

    def _submit(self, *question: Any) -> Any:
        return self._engine.submit(*question).result(60)

    def _await(self, *question: Any) -> Any:
        return asyncio.run(self._engine.infer_async(*question))

    def _array(self, source: Bytes, name: str) -> Any:
        dtype, fixed, _ = SUBJECTS[name]
        kind = np.dtype(dtype) if source.number(4) else np.dtype(source.one_of(TYPES))
        rank = len(fixed) if source.number(4) else source.number(6)
        shape = [source.one_of(SIZES) for _ in range(rank)]
        if source.number(4):
            shape = [size if fixed[axis : axis + 1] in {(), (None,)} else 3 for axis, size in enumerate(shape)]
        way = source.number(3)
        try:
            if way == 0 and not kind.hasobject:  # any strides that stay inside the buffer
                strides = [source.one_of(STRIDES) for _ in range(rank)]
                return np.ndarray(shape, kind, BUFFER, source.number(1 << 13), strides)
            claim = np.broadcast_to(np.zeros((), kind), shape)  # without memory
            return claim.copy() if way == 1 and claim.nbytes <= 2 * LIMIT else claim
        except (ValueError, TypeError, MemoryError, OverflowError):
            return None  # NumPy itself has no such array


def verdict(name: str, x: Any) -> type[anya.InvalidInput] | None:
    """The class of the refusal that an array must get; None for one that is good."""
    dtype, fixed, _ = SUBJECTS[name]
    if x.dtype != np.dtype(dtype) or not x.dtype.isnative or x.ndim != len(fixed):
        return anya.InvalidInput
    if any(wanted is not None and wanted != size for wanted, size in zip(fixed, x.shape, strict=True)) or 0 in x.shape:
        return anya.InvalidInput
    return anya.InputTooLarge if x.nbytes > LIMIT else None


# --- schema.toml

NUMBERS = (
    "0",
    "1",
    "-1",
    "-5",
    "100",
    "2.5",
    "-0.0",
    "1e39",
    "nan",
    "inf",
    "9223372036854775807",
    "18446744073709551616",
)
POLICIES = ("'replace'", "'allow'", "'clip'", "'reject'")
SHAPES = ("['N', 'L']", "['', 3]", "['L', 'N']", "['rows', 'L']", "[]", "['N']", "[2, 3]")
INPUT = {
    "min": NUMBERS,
    "max": NUMBERS,
    "replace_with": NUMBERS,
    "max_bytes": NUMBERS,
    "max_length": NUMBERS,
    "finite": POLICIES,
    "on_range": POLICIES,
    "control": POLICIES,
    "normalize": POLICIES,
    "shape": SHAPES,
    "allowed": ("[0, 1.5, -3]", "[0, 1]", "[]", "1"),
    "dtype": ("'float32'", "'int64'"),
    "utf8": ("true", "0"),
}
OUTPUT = {name: INPUT[name] for name in ("min", "max", "finite", "shape", "dtype")}
SIZE = {"min": NUMBERS, "max": NUMBERS}
#: Table -> what may stand in it, most of the time.
TABLES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "": {"version": ("1", "2"), "max_rows": NUMBERS},
    "inputs.x": INPUT,
    "outputs.y": OUTPUT,
    "outputs.total": OUTPUT,
    "dims.N": SIZE,
    "dims.L": SIZE,
    "inputs.z": INPUT,
    "dims.K": SIZE,
}
NOISE = ("[[[[", "{", "'", '"""', "\0", "#", "mim = 1", "x = 2020-01-01", "[inputs]", "[[inputs]]", "inputs.x.min = 1")


class SchemaFiles:
    """Bytes as a model's schema.toml: rules that are held, or a refusal in words; never anything else."""

    def __init__(self) -> None:
        self._engine = anya.Engine()
        self._home = tempfile.TemporaryDirectory()
        self._folder = Path(self._home.name)
        (self._folder / "model.onnx").write_bytes(MODELS["sequence"]())

    def close(self) -> None:
        """Nothing stays."""
        self._engine.close()
        self._home.cleanup()

    def __call__(self, data: bytes) -> str:
        """One file read, and if it is one, loaded and asked."""
        source = Bytes(data)
        content = source.rest()
        if source.number(4):
            content = self._text(source).encode()
        try:
            schema = Schema.from_toml(content)
        except anya.ConfigError as error:
            assert len(str(error)) < 800
            schema = None
        if schema is None and source.number(8):  # loading costs milliseconds
            return "no schema"
        (self._folder / "schema.toml").write_bytes(content)
        try:
            self._engine.load("m", self._folder, config=CONFIG)
        except anya.ModelInvalid as error:
            assert "schema.toml" in str(error)
            return "no schema" if schema is None else "does not fit"
        try:
            assert schema is not None, "loaded what is no schema"
            return self._held(schema)
        finally:
            self._engine.unload("m")

    @staticmethod
    def _text(source: Bytes) -> str:
        tables: dict[str, dict[str, str]] = {}
        for _ in range(source.number(6)):
            name = list(TABLES)[source.number(100) % (len(TABLES) if source.number(8) == 7 else 5)]
            field = source.one_of(list(TABLES[name]))
            tables.setdefault(name, {})[field] = source.one_of(TABLES[name][field])
        lines = [] if source.number(8) < 7 else [source.one_of(NOISE)]
        for name in sorted(tables):
            lines += [f"[{name}]"] if name else []
            lines += [f"{field} = {value}" for field, value in tables[name].items()]
        return "\n".join(lines)

    def _held(self, schema: Schema) -> str:
        x = np.array([[0.0, 1.5, -3.0], [np.nan, np.inf, 2.0]], np.float32)
        rule = schema.inputs.get("x")
        try:
            answer = self._engine.infer_detailed("m", x)
        except anya.ModelOutputInvalid:
            assert schema.outputs
            return "answer refused"
        except anya.InvalidInput as error:
            assert error.field == "x" and (rule or schema.dims or schema.max_rows)
            return "refused"
        assert rule is None or rule.finite in {"replace", "allow"}, "NaN went through"
        assert bool(answer.sanitized) == (rule is not None and answer.outputs["y"].tobytes() != (x + x).tobytes())
        return "answered"


TARGETS: Mapping[str, Callable[[], Descriptors | SchemaFiles | Signed | Graphs]] = {
    "descriptors": Descriptors,
    "schema": SchemaFiles,
    "bundle": Bundles,
    "statement": Statements,
    "registry": Registries,
    "walk": Graphs,
}
