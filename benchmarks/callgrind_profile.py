# SPDX-License-Identifier: Apache-2.0
"""Reads what callgrind wrote and says which layer the instructions belong to. Pure.

A function of our extension belongs to the folder of the line that was executed, so that what was inlined counts where
it is written; lines of the standard library and of pybind11 count for the function they were inlined into. What our
functions call in other libraries is counted at the edge: `malloc` asked for by the core is not `malloc` asked for by
ONNX Runtime.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

_OBJECTS = (
    (re.compile(r"/_core\.[^/]*so$"), "ours"),
    (re.compile(r"libonnxruntime"), "onnxruntime"),
    (re.compile(r"/numpy/|numpy\.libs"), "numpy"),
    (re.compile(r"/libpython|/python[0-9.]*$|/lib-dynload/|/python3"), "interpreter"),
)
_FOLDER = re.compile(r"/cpp/src/(\w+)/")


@dataclass(kw_only=True)
class Profile:
    """Instructions of one measured section.

    Attributes:
        total: All of them.
        objects: By who executed them: ours, interpreter, numpy, onnxruntime, libc (which is everything else).
        layers: Those of ours, by layer.
        calls_out: What ours asked others for, callee's callees included: (layer, called object) -> instructions.
        functions: Those of ours, by (layer, function).
        outside: What ours asked others for, by (function of ours, called function).
        outside_calls: How often.
    """

    total: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    layers: Counter[str] = field(default_factory=Counter)
    calls_out: Counter[tuple[str, str]] = field(default_factory=Counter)
    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    outside: Counter[tuple[str, str]] = field(default_factory=Counter)
    outside_calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: Profile) -> None:
        """Take another's counts in."""
        self.total += other.total
        for mine in fields(self):
            if isinstance(counts := getattr(self, mine.name), Counter):
                counts.update(getattr(other, mine.name))


def object_of(path: str) -> str:
    """Who a library is: ours, onnxruntime, numpy, interpreter, or libc for all others."""
    return next((name for pattern, name in _OBJECTS if pattern.search(path)), "libc")


def layer_of(path: str) -> str | None:
    """The layer a source file belongs to; None for one that is not the project's."""
    if (found := _FOLDER.search(path)) is not None:
        return found[1]
    if "/cpp/include/anya/" in path:
        return "headers"
    return "binding" if "/bindings/" in path else None


def layer_of_function(path: str, name: str) -> str:
    """The layer of a function's own file; a template of the standard library counts by the names it was made for."""
    if (layer := layer_of(path)) is not None:
        return layer
    return "binding" if "pybind11" in path or "python::" in name or "pybind11::" in name else "headers"


def read(lines: Iterable[str]) -> Profile:
    """Read one dump written with `--compress-strings=no --compress-pos=no`."""
    profile = Profile()
    owner, function, own_file, file = "", "", "", ""
    called_object, called, calls = "", "", 0
    for line in lines:
        head, equals, text = line.rstrip("\n").partition("=")
        if equals and head in {"ob", "fl", "fi", "fe", "fn", "cob", "cfi", "cfl", "cfn", "calls"}:
            match head:
                case "ob":
                    owner = called_object = object_of(text)
                case "fl":
                    own_file = file = text
                case "fi" | "fe":
                    file = text
                case "fn":
                    function, file = text, own_file
                    called_object = owner
                case "cob":
                    called_object = object_of(text)
                case "cfn":
                    called = text
                case "calls":
                    calls = int(text.split()[0])
            continue
        words = line.split()
        if len(words) != 2 or not (words[0][0].isdigit() or words[0][0] in "+-*"):
            continue
        cost = int(words[1])
        inner = layer_of_function(own_file, function) if owner == "ours" else ""
        if calls or called:  # the line after `calls=`: what the called function cost, all it called included
            if owner == "ours" and called_object != "ours":
                profile.calls_out[layer_of(file) or inner, called_object] += cost
                profile.outside[function, called] += cost
                profile.outside_calls[function, called] += calls
            called_object, called, calls = owner, "", 0
            continue
        profile.total += cost
        profile.objects[owner] += cost
        if owner == "ours":
            layer = layer_of(file) or inner
            profile.layers[layer] += cost
            profile.functions[layer, function] += cost
    return profile
