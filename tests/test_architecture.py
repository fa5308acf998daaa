# SPDX-License-Identifier: Apache-2.0
"""The house rules that a compiler does not hold: who may include or import whom, sizes, licence lines.

Each rule is a function from text to what breaks it, and each has a mutant: text that breaks it and must be refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "anya_engine"

# What each folder of cpp/src may include besides itself. cpp/CMakeLists.txt links by the same table.
CPP_ARROWS: dict[str, set[str]] = {
    "base": set(),
    "sync": {"base"},
    "stats": {"base"},
    "integrity": {"base"},
    "onnx": {"base"},
    "rules": {"base"},
    "ort": {"base"},
    "cache": {"stats", "base"},
    "batching": {"sync", "stats", "base"},
    "model": {"batching", "cache", "integrity", "onnx", "rules", "stats", "base"},
    "engine": {"model", "ort", "stats", "base"},
    "driver": {"engine", "base"},
}
# Words that belong to one place.
CPP_OWNED_WORDS = {
    r"\bpy::|\bpybind11\b|\bPython\.h\b": (),
    r"\bOrt[A-Z]\w*": ("ort",),
    r"\bopenssl/": ("cache", "integrity"),
    r"\bgetenv\b": ("ort",),  # to refuse a variable of ONNX Runtime's, never as a switch of ours
    r"\bsteady_clock::now\b|\bsystem_clock::now\b": (),
}

# Python: what needs nothing but its arguments. `_core` is the extension.
PURE_MODULES = {"errors", "caching", "config", "monitoring", "resilience", "rules", "strategies", "trust"} | {
    "_frozen", "_checks", "_tables", "_judge",
    "_routing", "_rollout", "_rollout_state", "_retry", "_fallback", "_drift", "_plan", "_scaling",
    "repository", "_records", "_stand_in", "_toml", "_differences", "_state", "_goal", "_registry",
    "drift", "profile", "_distributions", "_divergence", "_features", "_drift_report",
}  # fmt: skip
NOT_PURE = {
    "_core", "_cuda", "_engine", "_event_loops", "_info", "_options", "_runtime",
    "asyncio", "concurrent", "ctypes", "datetime", "io", "logging", "multiprocessing", "os", "prometheus_client",
    "random", "select", "selectors", "signal", "socket", "subprocess", "sys", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
# A pure module may still take what describes a path, and config reads the one file it is named for.
PURE_EXCEPTIONS = {("config", "os"), ("_checks", "os"), ("repository", "os"), ("_toml", "os"), ("trust", "os")} | {
    ("drift", "os"),
}
PURE_OS_NAMES = {"PathLike", "fspath"}
CORE_IMPORTERS = {
    *(
        "__init__",
        "_engine",
        "_event_loops",
        "_health",
        "_info",
        "_load_driver",
        "_model_table",
        "_options",
        "_prometheus",
    ),
    *(
        "_core_rules",
        "_trust",
        "_signing",
        "_metrics",
        "_metrics_drift",
        "_metrics_sources",
        "_metrics_server",
        "_shared_counts",
        "_shared_families",
        "_system",
    ),
    *("_drift_counts", "_drift_plan", "_drift_watch", "_reference", "_reference_tap"),
    *("_callbacks", "_control", "_opening", "_shadow", "_taps", "_comparison", "_recorded"),
    *("_canary", "_deployments", "_rollout_book"),
    *("_guard", "_recoveries"),
}
# Libraries that one module speaks to, so that replacing them is a change of one file.
OWNED_LIBRARIES = {"prometheus_client": {"_prometheus"}, "ctypes": {"_cuda"}, "rich": {"_progress"}}
OWNED_LIBRARIES |= {"opentelemetry": {"_tracing"}, "psutil": {"_system"}, "pynvml": {"_system"}}

SOURCE_KINDS = {".h", ".cc", ".cpp", ".py", ".pyi", ".cmake"}
LINE_LIMIT = 400
# Made by a program, not written.
UNLIMITED = {"_core.pyi"}


def includes(text: str) -> list[str]:
    """Return the paths a C++ text includes in quotes."""
    return re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, flags=re.MULTILINE)


def wrong_includes(folder: str, text: str) -> list[str]:
    """Return the includes that a file of cpp/src/<folder> must not have."""
    allowed = CPP_ARROWS[folder] | {folder, "anya"}
    return [path for path in includes(text) if "/" not in path or path.split("/")[0] not in allowed]


def code_of(text: str) -> str:
    """Return a C++ text without its comments."""
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def wrong_words(folder: str, text: str) -> list[str]:
    """Return the words that belong to another folder of cpp/."""
    code = code_of(text)
    return [
        found[0]
        for pattern, owners in CPP_OWNED_WORDS.items()
        if folder not in owners and (found := re.search(pattern, code)) is not None
    ]


def imports(text: str) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of every import that happens, wherever it stands; a relative module without its dots."""
    tree = ast.parse(text)
    # Not executed: what only a type checker reads.
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    unread = {inner for guard in guards for statement in guard.body for inner in ast.walk(statement)}
    for node in ast.walk(tree):
        if node in unread:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").removeprefix("anya_engine").lstrip(".")
            for alias in node.names:
                yield (module, alias.name) if module else (alias.name, "")


def impurities(module: str, text: str) -> list[str]:
    """Return the imports that a pure module must not have."""
    wrong = []
    for source, name in imports(text):
        top = source.split(".")[0]
        if top not in NOT_PURE:
            continue
        if (module, top) in PURE_EXCEPTIONS and name in PURE_OS_NAMES:
            continue
        wrong.append(f"{source}.{name}".rstrip("."))
    return wrong


def imports_core(text: str) -> bool:
    """Whether a Python text imports the extension."""
    return any("_core" in (*source.split("."), name) for source, name in imports(text))


def foreign_libraries(module: str, text: str) -> list[str]:
    """Return the libraries that a module imports though another module speaks to them."""
    tops = {source.split(".")[0] for source, _ in imports(text)}
    return sorted(top for top in tops if module not in OWNED_LIBRARIES.get(top, {module}))


def goes_past_the_log(text: str) -> bool:
    """Whether a Python text gives records to handlers itself: one that blocks would hold up whoever says something."""
    return re.search(r"\bgetLogger\b|\blogging\.(debug|info|warning|error|exception|critical)\(", text) is not None


def has_licence_line(text: str) -> bool:
    """Whether the SPDX line is among the first two lines (a script's first line may be its interpreter)."""
    return any("SPDX-License-Identifier: Apache-2.0" in line for line in text.splitlines()[:2])


def files(*places: str) -> list[Path]:
    """Return the written sources below these places."""
    found: Iterable[Path] = (path for place in places for path in (ROOT / place).rglob("*"))
    return sorted(path for path in found if path.suffix in SOURCE_KINDS or path.name == "CMakeLists.txt")


def in_cpp() -> list[Path]:
    """Return the files of cpp/src."""
    return [path for path in files("cpp/src") if path.suffix in {".h", ".cc"}]


def everything() -> list[Path]:
    """Return every source of the project."""
    top = [ROOT / "CMakeLists.txt", ROOT / "noxfile.py"]
    return top + files("cpp", "bindings", "src", "tests", "benchmarks", "docs")


def named(path: Path) -> str:
    """Return a file's name in a test report."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", in_cpp(), ids=named)
def test_cpp_arrows_go_down(path: Path) -> None:
    """A C++ file includes its own folder, the public headers, and what its folder may use."""
    folder = path.relative_to(ROOT / "cpp" / "src").parts[0]
    assert wrong_includes(folder, path.read_text()) == []


@pytest.mark.parametrize("path", in_cpp(), ids=named)
def test_cpp_words_stay_in_their_folder(path: Path) -> None:
    """ONNX Runtime is named in ort/ alone, OpenSSL in integrity/, Python and the wall clock nowhere in the core."""
    folder = path.relative_to(ROOT / "cpp" / "src").parts[0]
    assert wrong_words(folder, path.read_text()) == []


def test_public_headers_stand_alone() -> None:
    """A public header includes public headers only."""
    wrong = {
        named(path): foreign
        for path in files("cpp/include")
        if (foreign := [each for each in includes(path.read_text()) if not each.startswith("anya/")])
    }
    assert wrong == {}


def test_bindings_see_the_public_headers_only() -> None:
    """The binding includes anya/*.h and its own headers, never cpp/src."""
    own = {path.name for path in files("bindings")}
    wrong = {
        named(path): foreign
        for path in files("bindings")
        if (
            foreign := [each for each in includes(path.read_text()) if not each.startswith("anya/") and each not in own]
        )
    }
    assert wrong == {}


def test_cmake_links_by_the_same_table() -> None:
    """What cpp/CMakeLists.txt links is what the arrows allow."""
    text = (ROOT / "cpp" / "CMakeLists.txt").read_text()
    linked = {
        folder: set(re.findall(r"\banya_(\w+)", targets))
        for folder, targets in re.findall(r"^anya_folder\((\w+)([^)]*)\)", text, flags=re.MULTILINE)
    }
    assert CPP_ARROWS.keys() == linked.keys()
    assert {folder: extra for folder in linked if (extra := linked[folder] - CPP_ARROWS[folder])} == {}


def test_every_folder_of_the_core_has_arrows() -> None:
    """A new folder of cpp/src says what it may use before it uses anything."""
    folders = {path.name for path in (ROOT / "cpp" / "src").iterdir() if path.is_dir() and any(path.iterdir())}
    assert set() == folders - CPP_ARROWS.keys()


def test_pure_modules_are_pure() -> None:
    """Modules of decisions import neither the extension, nor time, nor anything that reads or writes."""
    wrong = {
        name: found
        for name in sorted(PURE_MODULES)
        if (PACKAGE / f"{name}.py").is_file() and (found := impurities(name, (PACKAGE / f"{name}.py").read_text()))
    }
    assert wrong == {}


def test_few_modules_import_the_extension() -> None:
    """The compiled part is imported where the table says, so that everything else is tested without it."""
    importers = {path.stem for path in PACKAGE.rglob("*.py") if imports_core(path.read_text())}
    assert set() == importers - CORE_IMPORTERS


def test_libraries_are_spoken_to_in_one_place() -> None:
    """prometheus_client and ctypes are each imported by the one module that owns them."""
    wrong = {
        named(path): foreign
        for path in PACKAGE.rglob("*.py")
        if (foreign := foreign_libraries(path.stem, path.read_text()))
    }
    assert wrong == {}


@pytest.mark.parametrize("path", everything(), ids=named)
def test_files_are_small_and_licensed(path: Path) -> None:
    """A source has at most 400 lines and says its licence; what is longer is two files."""
    text = path.read_text()
    if text.strip():
        assert has_licence_line(text)
    if path.name not in UNLIMITED:
        assert len(text.splitlines()) <= LINE_LIMIT


def test_records_go_through_the_log() -> None:
    """No module but `_log` asks logging for a logger."""
    modules = [path for path in PACKAGE.rglob("*.py") if path.stem != "_log"]
    assert [named(path) for path in modules if goes_past_the_log(path.read_text())] == []


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("sync", '#include "stats/histogram.h"\n'),
        ("base", '#include "sync/futex.h"\n'),
        ("batching", '#include  "model/loader.h"\n'),
        ("model", '# include "ort/ort_session.h"\n'),
        ("ort", '  #include "onnx/wire_walk.h"\n'),
        ("engine", '#include "histogram.h"\n'),
    ],
)
def test_mutant_include_is_refused(folder: str, text: str) -> None:
    """An include against the arrows, or without a folder, is seen."""
    assert len(wrong_includes(folder, '#include <vector>\n#include "anya/status.h"\n' + text)) == 1


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        ("engine", "OrtSession* session = nullptr;"),
        ("batching", "const auto now = std::chrono::steady_clock::now();"),
        ("model", "#include <openssl/evp.h>"),
        ("sync", "py::gil_scoped_release release;"),
        ("base", 'if (std::getenv("ANYA_DEBUG") != nullptr) {}'),
    ],
)
def test_mutant_word_is_refused(folder: str, text: str) -> None:
    """A word in a folder that does not own it is seen; the same word in a comment is not."""
    assert len(wrong_words(folder, text)) == 1
    assert wrong_words(folder, f"// {text}\n/* {text} */") == []


@pytest.mark.parametrize(
    "text",
    [
        "import time\n",
        "from time import monotonic\n",
        "from . import _core\n",
        "from ._core import Engine\n",
        "from anya_engine._core import Engine\n",
        "def f():\n    import random\n    return random.random()\n",
        "from os import environ\n",
        "from os.path import exists\n",
    ],
)
def test_mutant_import_is_refused(text: str) -> None:
    """A pure module that imports time, chance, files or the extension is seen, at any depth."""
    assert len(impurities("config", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "from . import _core\n",
        "from ._core import X\n",
        "import anya_engine._core\n",
        "from anya_engine import _core\n",
    ],
)
def test_mutant_import_of_the_extension_is_seen(text: str) -> None:
    """Every way of writing an import of the extension is recognised."""
    assert imports_core(text)
    assert not imports_core("from .errors import ConfigError\n")


def test_mutant_import_of_an_owned_library_is_refused() -> None:
    """An import of an owned library is seen in any other module, and in its own it is fine."""
    text = "from prometheus_client.core import Metric\n"
    assert foreign_libraries("_engine", text) == ["prometheus_client"]
    assert foreign_libraries("_prometheus", text) == []
    assert foreign_libraries("_engine", f"if TYPE_CHECKING:\n    {text}") == []
    assert foreign_libraries("_engine", f"if TYPE_CHECKING:\n    pass\nelse:\n    {text}") == ["prometheus_client"]


def test_mutant_without_licence_is_refused() -> None:
    """A licence line is looked for at the top, not anywhere."""
    assert has_licence_line("#!/usr/bin/env python3\n# SPDX-License-Identifier: Apache-2.0\n")
    assert not has_licence_line('"""Text."""\n\n# SPDX-License-Identifier: Apache-2.0\n')


def test_mutant_record_past_the_log_is_seen() -> None:
    """Every way to a handler of the service but ours is recognised; a level's name is none."""
    for text in ('logging.getLogger("x")', "from logging import getLogger", 'logging.warning("x")'):
        assert goes_past_the_log(text)
    assert not goes_past_the_log('_log.log(logging.WARNING, "x")')
