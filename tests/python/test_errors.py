# SPDX-License-Identifier: Apache-2.0
"""errors.py: the tree, its codes, and what an error carries."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest

from anya_engine import errors
from anya_engine.errors import AnyaError

ROOT = Path(__file__).resolve().parents[2]
CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "class_for"]


def snake(name: str) -> str:
    """CamelCase as UPPER_SNAKE."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()


class Sentence:
    """Counts how often it is put into words, and cannot be pickled."""

    def __init__(self) -> None:
        self.times = 0
        self.unpicklable = lambda: None

    def __str__(self) -> str:
        self.times += 1
        return "the queue is full"


@pytest.mark.parametrize("cls", CLASSES)
def test_code_is_the_name_of_the_class(cls: type[AnyaError]) -> None:
    """A code is its class's name in upper snake case, and leads back to the class."""
    assert snake(cls.__name__) == cls.code
    assert cls is errors.class_for(cls.code)


def test_every_code_of_the_core_has_its_class() -> None:
    """The classes match the values of the core's ErrorCode one to one."""
    header = (ROOT / "cpp/include/anya/status.h").read_text()
    body = re.search(r"enum class ErrorCode[^{]*\{(.*?)\};", header, flags=re.DOTALL)
    assert body is not None
    names = set(re.findall(r"^\s*k(\w+)", body[1], flags=re.MULTILINE)) - {"Ok"}
    assert {cls.__name__ for cls in CLASSES} - {"AnyaError"} == names


def test_every_code_of_the_core_has_the_same_string() -> None:
    """The strings of the core's code_name are the codes of the classes."""
    source = (ROOT / "cpp/src/base/status.cc").read_text()
    pairs = dict(re.findall(r"case ErrorCode::k(\w+):\s*return \"(\w+)\";", source))
    assert {cls.__name__: cls.code for cls in CLASSES if cls is not AnyaError} == {
        name: code for name, code in pairs.items() if name != "Ok"
    }


def test_unknown_code_gives_the_root() -> None:
    """A code from nowhere still becomes an error of ours."""
    assert errors.class_for("NO_SUCH_CODE") is AnyaError


def test_only_failed_runs_are_retryable() -> None:
    """Trying again helps a run that failed, and nothing else."""
    assert {"ExecutionError", "OutOfMemory"} == {cls.__name__ for cls in CLASSES if cls.retryable}


def test_what_starts_the_fallback_chain() -> None:
    """The chain goes on where another model could answer, not where the request itself is at fault."""
    expected = {"Overloaded", "Unavailable", "ExecutionError", "ModelOutputInvalid", "OutOfMemory"}
    assert expected == {cls.__name__ for cls in CLASSES if cls.starts_fallback}


@pytest.mark.parametrize(
    ("cls", "also"),
    [
        (errors.InvalidInput, ValueError),
        (errors.InputTooLarge, errors.InvalidInput),
        (errors.InputTooLarge, ValueError),
        (errors.DeadlineExceeded, TimeoutError),
        (errors.OutOfMemory, MemoryError),
        (errors.ModelOutputInvalid, errors.ExecutionError),
        (errors.ModelInvalid, errors.ModelLoadError),
        (errors.TrustError, errors.ModelLoadError),
        (errors.Revoked, errors.TrustError),
        (errors.HashMismatch, errors.TrustError),
    ],
)
def test_what_else_an_error_is(cls: type[AnyaError], also: type[Exception]) -> None:
    """An error is caught by the names that Python and the tree have for it."""
    assert issubclass(cls, also)
    assert issubclass(cls, AnyaError)


@pytest.mark.parametrize("cls", CLASSES)
def test_error_carries_its_facts(cls: type[AnyaError]) -> None:
    """Facts given are attributes, facts not given are None, and the sentence is what str() says."""
    error = cls("too many", field="x", limit=4, value=5, attempts=("a", "b"))
    assert (str(error), error.field, error.limit, error.value, error.attempts) == ("too many", "x", 4, 5, ("a", "b"))
    bare = cls("bare")
    assert (bare.field, bare.limit, bare.value, bare.attempts) == (None, None, None, ())


@pytest.mark.parametrize("cls", CLASSES)
def test_sentence_is_made_when_read(cls: type[AnyaError]) -> None:
    """Raising, catching and reading the facts puts nothing into words; str() does."""
    sentence = Sentence()
    with pytest.raises(cls) as caught:
        raise cls(sentence, limit=1)
    assert caught.value.limit == 1
    assert sentence.times == 0
    assert str(caught.value) == "the queue is full"
    assert sentence.times == 1


@pytest.mark.parametrize("cls", CLASSES)
def test_error_travels(cls: type[AnyaError]) -> None:
    """Pickling and copying keep class, words, facts and notes, even when the sentence itself cannot travel."""
    error = cls(Sentence(), field="x", value=5, attempts=(errors.ExecutionError("first"),))
    error.add_note("seen in the shop")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is cls
        assert (str(twin), twin.field, twin.limit, twin.value) == ("the queue is full", "x", None, 5)
        assert twin.__notes__ == ["seen in the shop"]
        assert [str(each) for each in twin.attempts] == ["first"]
    assert pickle.loads(pickle.dumps(error)).args == ("the queue is full",)


def test_tree_is_drawn_whole() -> None:
    """Every class stands in the module's drawing."""
    drawing = errors.__doc__ or ""
    assert [cls.__name__ for cls in CLASSES if not re.search(rf"\b{cls.__name__}\b", drawing)] == []
