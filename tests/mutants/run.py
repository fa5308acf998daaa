# SPDX-License-Identifier: Apache-2.0
"""Break the code on purpose, one place at a time, and see that the named test notices.

`catalogue.toml` lists the mutants. Each is applied to a copy of the tree, the test that should notice is built and run
there, and the run fails when that test still passes. Before that every named test must pass on the unbroken copy.
Run by `nox -s mutants`; arguments choose mutants by a part of their name.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "mutants"
TREE = HOME / "tree"
COPIED = ("CMakeLists.txt", "noxfile.py", "pyproject.toml", "cpp", "tests", "src", "bindings", "benchmarks")
TIME_LIMIT = 300  # of a test
BUILD_LIMIT = 3600
BUILDS = {"ctest": HOME / "build", "tsan": HOME / "build-thread", "extension": HOME / "build-extension"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mutant:
    """One way to break the code.

    Attributes:
        name: What is broken, in a few words.
        file: Where, from the root.
        find: The text that is replaced; it occurs once.
        replace: What it becomes.
        noticed_by: "ctest:<program>", "tsan:<program>" (the same under ThreadSanitizer), "pytest:<arguments>", or
            "extension:<arguments>": pytest again, on an extension that is built of the broken code.
    """

    name: str
    file: str
    find: str
    replace: str
    noticed_by: str


def synchronise() -> None:
    """Make the copy equal to the tree; only what differs is written, so that builds stay incremental."""
    wanted: dict[Path, bytes] = {}
    for name in COPIED:
        place = ROOT / name
        for file in [place] if place.is_file() else place.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".so":
                wanted[file.relative_to(ROOT)] = file.read_bytes()
    for file, content in wanted.items():
        copy = TREE / file
        if not copy.is_file() or copy.read_bytes() != content:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
    for copy in [each for each in TREE.rglob("*") if each.is_file()]:
        if copy.relative_to(TREE) not in wanted:
            copy.unlink()


def place_extension(built: bool) -> None:
    """Put the extension beside the copy's modules: the one that was built of the copy, or the installed one."""
    spec = importlib.util.find_spec("anya_engine")
    installed = Path(spec.origin).parent if spec is not None and spec.origin is not None else HOME
    for library in (BUILDS["extension"] / "bindings" if built else installed).glob("_core*.so"):
        place = TREE / "src" / "anya_engine" / library.name
        place.unlink(missing_ok=True)  # a process that has it open keeps what it has
        shutil.copy2(library, place)


def runtime_library() -> str:
    """Return the installed libonnxruntime."""
    spec = importlib.util.find_spec("onnxruntime")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return next((str(file) for place in places for file in Path(place).glob("capi/libonnxruntime.so.*")), "")


def run(*command: str, limit: int = TIME_LIMIT) -> subprocess.CompletedProcess[str] | None:
    """Run a command in the copy; None when it does not end."""
    environment = os.environ | {
        "PYTHONPATH": str(TREE / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANYA_TEST_ORT_LIBRARY": runtime_library(),
        "ANYA_BENCH_BUILD": str(BUILDS["ctest"]),
    }
    try:
        return subprocess.run(
            command, cwd=TREE, env=environment, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        return None


def configure(kind: str, *, relacy: bool) -> None:
    """Configure a C++ build of the copy; the models need relacy's headers."""
    if kind == "extension":
        import pybind11

        options = [f"-Dpybind11_DIR={pybind11.get_cmake_dir()}", f"-DPython_EXECUTABLE={sys.executable}"]
    else:
        sanitizer = "thread" if kind == "tsan" else ""
        options = ["-DANYA_BUILD_TESTS=ON", "-DANYA_BUILD_BINDINGS=OFF", f"-DANYA_TEST_PYTHON={sys.executable}"]
        options += [f"-DANYA_RELACY={'ON' if relacy else 'OFF'}", f"-DANYA_SANITIZE={sanitizer}"]
    done = run("cmake", "-S", str(TREE), "-B", str(BUILDS[kind]), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Debug", *options)
    if done is None or done.returncode != 0:
        sys.exit(f"cmake failed:\n{done.stderr if done else 'it did not end'}")


def outcome(test: str) -> str:
    """Return "passed", "noticed" or "unbuilt" for one test on the copy as it is."""
    kind, _, what = test.partition(":")
    if kind in BUILDS:
        if kind == "extension":
            targets = ["_core"]
        elif what.endswith("_model"):
            targets = [what]
        else:
            targets = [what, "anya_models_ort", "anya_models_catalogue"]
        command = ("cmake", "--build", str(BUILDS[kind]), "--parallel", "2", "--target", *targets)
        built = run(*command, limit=BUILD_LIMIT)
        if built is None or built.returncode != 0:
            print(built.stdout if built else "the build did not end", file=sys.stderr)
            return "unbuilt"
    if kind in {"pytest", "extension"}:
        place_extension(built=kind == "extension")
        # A random test's memory of old failures must not decide.
        done = run(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *what.split())
        if done is not None and done.returncode not in {0, 1, 2}:
            sys.exit(f"{test}: pytest could not run:\n{done.stdout}\n{done.stderr}")
    else:
        # ThreadSanitizer wants its own part of the address space left alone.
        fixed = ("setarch", platform.machine(), "-R") if kind == "tsan" else ()
        done = run(*fixed, "ctest", "--test-dir", str(BUILDS[kind]), "-R", f"^{what}$", "--no-tests=error")
    return "passed" if done is not None and done.returncode == 0 else "noticed"


def main(chosen: list[str]) -> int:
    """Run the mutants; return 0 when each was noticed."""
    catalogue = tomllib.loads((Path(__file__).parent / "catalogue.toml").read_text())
    mutants = [Mutant(**each) for each in catalogue["mutant"]]
    mutants = [each for each in mutants if not chosen or any(part in each.name for part in chosen)]
    synchronise()
    for kind in sorted({each.noticed_by.partition(":")[0] for each in mutants} & BUILDS.keys()):
        configure(kind, relacy=any(each.noticed_by.endswith("_model") for each in mutants))
    for test in sorted({each.noticed_by for each in mutants}):
        if outcome(test) != "passed":
            sys.exit(f"{test} does not pass on the unbroken code")
    missed = 0
    for mutant in mutants:
        file = TREE / mutant.file
        text = file.read_text()
        if text.count(mutant.find) != 1:
            sys.exit(
                f"{mutant.name}: {mutant.find!r} occurs {text.count(mutant.find)} times in {mutant.file}, not once"
            )
        broken = text.replace(mutant.find, mutant.replace)
        if file.suffix == ".py":
            compile(broken, mutant.file, "exec")  # what cannot even be read is noticed by anything
        try:
            file.write_text(broken)
            result = outcome(mutant.noticed_by)
        finally:
            file.write_text(text)
        print(f"{result:8} {mutant.name} ({mutant.noticed_by})", flush=True)
        missed += result != "noticed"
    print(f"{len(mutants) - missed} passed, {missed} failed")
    return 1 if missed or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
