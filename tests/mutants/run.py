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
TIME_LIMIT = 300
BUILDS = {"ctest": HOME / "build", "tsan": HOME / "build-thread"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mutant:
    """One way to break the code.

    Attributes:
        name: What is broken, in a few words.
        file: Where, from the root.
        find: The text that is replaced; it occurs once.
        replace: What it becomes.
        noticed_by: "ctest:<program>", "tsan:<program>" (the same under ThreadSanitizer) or "pytest:<arguments>".
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
    # Python tests run on the copy's modules with the installed extension.
    spec = importlib.util.find_spec("anya_engine")
    if spec is not None and spec.origin is not None:
        for library in Path(spec.origin).parent.glob("_core*.so"):
            shutil.copy2(library, TREE / "src" / "anya_engine" / library.name)


def runtime_library() -> str:
    """Return the installed libonnxruntime."""
    spec = importlib.util.find_spec("onnxruntime")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    return next((str(file) for place in places for file in Path(place).glob("capi/libonnxruntime.so.*")), "")


def run(*command: str) -> subprocess.CompletedProcess[str] | None:
    """Run a command in the copy; None when it does not end."""
    environment = os.environ | {
        "PYTHONPATH": str(TREE / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "ANYA_TEST_ORT_LIBRARY": runtime_library(),
        "ANYA_BENCH_BUILD": str(BUILDS["ctest"]),
    }
    try:
        return subprocess.run(
            command, cwd=TREE, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        return None


def configure(kind: str, *, relacy: bool) -> None:
    """Configure a C++ build of the copy; the models need relacy's headers."""
    done = run(
        *("cmake", "-S", str(TREE), "-B", str(BUILDS[kind]), "-G", "Ninja", "-DANYA_BUILD_TESTS=ON"),
        *("-DANYA_BUILD_BINDINGS=OFF", "-DCMAKE_BUILD_TYPE=Debug", f"-DANYA_TEST_PYTHON={sys.executable}"),
        *(f"-DANYA_RELACY={'ON' if relacy else 'OFF'}", f"-DANYA_SANITIZE={'thread' if kind == 'tsan' else ''}"),
    )
    if done is None or done.returncode != 0:
        sys.exit(f"cmake failed:\n{done.stderr if done else 'it did not end'}")


def outcome(test: str) -> str:
    """Return "passed", "noticed" or "unbuilt" for one test on the copy as it is."""
    kind, _, what = test.partition(":")
    if kind == "pytest":
        # A random test's memory of old failures must not decide.
        done = run(sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *what.split())
        if done is not None and done.returncode not in {0, 1, 2}:
            sys.exit(f"{test}: pytest could not run:\n{done.stdout}\n{done.stderr}")
    else:
        targets = [what] if what.endswith("_model") else [what, "anya_models_ort", "anya_models_catalogue"]
        built = run("cmake", "--build", str(BUILDS[kind]), "--parallel", "2", "--target", *targets)
        if built is None or built.returncode != 0:
            print(built.stdout if built else "the build did not end", file=sys.stderr)
            return "unbuilt"
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
        try:
            file.write_text(text.replace(mutant.find, mutant.replace))
            result = outcome(mutant.noticed_by)
        finally:
            file.write_text(text)
        print(f"{result:8} {mutant.name} ({mutant.noticed_by})", flush=True)
        missed += result != "noticed"
    print(f"{len(mutants) - missed} passed, {missed} failed")
    return 1 if missed or not mutants else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
