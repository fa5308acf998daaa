# SPDX-License-Identifier: Apache-2.0
"""How noxfile.py's checks build, install and fetch what they need."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nox

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
JOBS = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(len(os.sched_getaffinity(0)))
# Half of what Python's tests take is waiting for each other's threads and processes. Benchmarks measure: one by one.
SIDE_BY_SIDE = ("-n", JOBS, "--dist", "worksteal", "-p", "no:benchmark")
# What the extension is made of: a wheel older than one of these is built anew.
WHEEL_SOURCES = ("CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "cpp", "bindings", "src")


def group(*names: str) -> list[str]:
    """Return the requirements of dependency groups."""
    return list(nox.project.dependency_groups(PROJECT, *names))


def sources(*places: str) -> list[Path]:
    """Return every file below these places that belongs to the project."""
    files: list[Path] = []
    for place in places:
        path = ROOT / place
        files += [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return [each for each in files if "__pycache__" not in each.parts]


def answer(session: nox.Session, code: str) -> str:
    """Return what the session's Python prints for some code."""
    return str(session.run("python", "-c", code, silent=True, log=False)).strip()


class Wheel(NamedTuple):
    """A wheel, and the extension in it as it was built: not stripped."""

    path: Path
    extension: Path


def wheel_of(session: nox.Session) -> Wheel:
    """Return an up-to-date wheel of the package for this Python; build it where there is none."""
    tag = answer(session, "import sys; print('cp%d%d' % sys.version_info[:2])")
    folder = BUILD / "wheels" / tag
    newest = max(each.stat().st_mtime for each in sources(*WHEEL_SOURCES))
    for path, extension in zip(folder.glob("*.whl"), BUILD.glob(f"{tag}-*/bindings/_core*.so"), strict=False):
        if path.stat().st_mtime > newest:
            session.log(f"{path.relative_to(ROOT)} is up to date")
            return Wheel(path, extension)
    shutil.rmtree(folder, ignore_errors=True)
    session.install(*group("build"))
    # The release's optimisation with line tables, which change no instruction: the wheel is stripped of them, what was
    # built keeps them for `budget`. In a build of type Release, pybind11 strips that too.
    session.run(
        *("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)),
        *("-C", "cmake.build-type=RelWithDebInfo", "-C", "install.strip=true", "-C", "cmake.define.ANYA_WERROR=ON"),
        *("-C", "cmake.define.CMAKE_CXX_FLAGS_RELWITHDEBINFO=-O3 -DNDEBUG -g1", "."),
        env={"CMAKE_BUILD_PARALLEL_LEVEL": JOBS},
    )
    return Wheel(next(folder.glob("*.whl")), next(BUILD.glob(f"{tag}-*/bindings/_core*.so")))


def install(session: nox.Session, *groups: str, extras: str = "cpu,tools") -> None:
    """Install the package as its users get it, with extras, and what the session needs beside it."""
    wheel = wheel_of(session).path
    session.install(f"{wheel}[{extras}]", *group(*groups))
    # The version does not change between two builds, so pip would keep the old one.
    session.install("--no-deps", "--force-reinstall", "--quiet", str(wheel))


def runtime_library(session: nox.Session) -> str:
    """Return the path of the session's libonnxruntime."""
    capi = Path(answer(session, "import onnxruntime; print(onnxruntime.__file__)")).parent / "capi"
    return str(next(capi.glob("libonnxruntime.so.*")))


def configure(session: nox.Session, build: Path, *options: str) -> None:
    """Configure a build of the C++ in a folder."""
    session.run("cmake", "-S", str(ROOT), "-B", str(build), "-G", "Ninja", *options, silent=True)


def ctest(
    session: nox.Session, folder: str, *options: str, programs: Sequence[str] = (), arguments: Sequence[str] = ()
) -> None:
    """Configure, build and run the C++ tests in build/<folder>; `programs`: these alone."""
    build = BUILD / folder
    ours = ("-DANYA_BUILD_TESTS=ON", "-DANYA_BUILD_BINDINGS=OFF", "-DANYA_WERROR=ON")
    # A third of the time; the wheel's full build, file by file, sees lacking headers and what the optimiser warns of.
    fast = ("-DCMAKE_UNITY_BUILD=ON", "-DCMAKE_UNITY_BUILD_BATCH_SIZE=16", "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG")
    configure(session, build, *ours, *fast, f"-DANYA_TEST_PYTHON={session.bin}/python", *options)
    wanted = ("--target", *programs, "anya_models_ort", "anya_models_catalogue") if programs else ()
    session.run("cmake", "--build", str(build), "--parallel", JOBS, *wanted)
    command = ["ctest", "--test-dir", str(build), "--output-on-failure", "--no-tests=error", "--parallel", JOBS]
    command += ["--tests-regex", f"^({'|'.join(programs)})$"] if programs else []
    command += arguments
    fixed = ["setarch", platform.machine(), "-R"]
    if "thread" in folder and shutil.which("setarch") and subprocess.run([*fixed, "true"], check=False).returncode == 0:
        command = fixed + command  # ThreadSanitizer's fixed map of memory and randomised addresses do not agree
    session.run(*command, external=True, env={"ANYA_TEST_ORT_LIBRARY": runtime_library(session)})


def debian(session: nox.Session, package: str, brings: str) -> None:
    """See that a program or a header is there; else install the Debian package that brings it, or say which it is."""
    if shutil.which(brings) or any(Path(root, "include", brings).exists() for root in ("/usr", "/usr/local")):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        session.error(f"{brings} is missing: apt-get install {package}")
    session.run("apt-get", "update", "--quiet", external=True, silent=True)
    session.run("apt-get", "install", "--yes", "--quiet", package, external=True, silent=True)


def compilers(library: str) -> str:
    """Return the path of a library that belongs to the C++ compiler."""
    compiler = os.environ.get("CXX", "c++")
    done = subprocess.run([compiler, f"-print-file-name={library}"], capture_output=True, text=True, check=True)
    return done.stdout.strip()
