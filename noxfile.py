# SPDX-License-Identifier: Apache-2.0
"""Every check of the project, each one command: `nox -s NAME`; `nox -l` lists them.

Needed on the machine: Python, a C++20 compiler and OpenSSL's headers. Everything else comes from PyPI, but for
what three sessions need of Debian: `relacy`, `memcheck` and `peers`.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nox

# nox reads this file by its path, so its folder is on no path of imports.
sys.path.insert(0, str(Path(__file__).parent / "tests"))
from building import (
    BUILD,
    JOBS,
    PROJECT,
    ROOT,
    SIDE_BY_SIDE,
    answer,
    compilers,
    configure,
    ctest,
    debian,
    group,
    install,
    runtime_library,
    sources,
    wheel_of,
)

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "typing", "tests", "stubs"]

CPP_FOLDERS = ("cpp", "bindings", "tests/cpp", "tests/linearizability", "tests/relacy", "benchmarks/cpp")


@nox.session
def demo(session: nox.Session) -> None:
    """Build, install, and classify real files of this machine with a real model."""
    install(session, "demo")
    session.run("python", "docs/examples/magika_demo.py", *session.posargs)
    if not session.posargs:
        session.run("python", "docs/examples/cache_demo.py", "--files", "2000")


@nox.session
def tests(session: nox.Session) -> None:
    """Build, install, run every test: C++ by ctest, Python by pytest. Arguments after `--` go to pytest."""
    install(session, "build", "bench")
    ctest(session, "tests", "-DANYA_BUILD_BENCHMARKS=ON")
    session.run("pytest", *(session.posargs or SIDE_BY_SIDE))
    if not session.posargs:
        session.run("pytest", "benchmarks", "--benchmark-disable", env={"ANYA_BENCH_BUILD": str(BUILD / "tests")})


@nox.session
def floor(session: nox.Session) -> None:
    """Run what meets ONNX Runtime against the oldest one we take; `tests` has the newest."""
    install(session, "build", "bench")
    session.install("onnxruntime==1.28.*")
    meeting = ("api", "error", "real_load", "runtime", "schema", "session", "session_options", "value")
    ctest(session, "tests", programs=[f"{name}_test" for name in meeting])
    files = ("infer", "bad_models", "batching", "async", "lifecycle")
    session.run("pytest", *(f"tests/python/test_{name}.py" for name in files))


@nox.session
def conformance(session: nox.Session) -> None:
    """Compare with plain ONNX Runtime: every node case of the package `onnx`, and real models on real inputs."""
    install(session, "conformance")
    session.run("pytest", "tests/conformance", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """Hand our files to the programs they are for: `model_signing`, a browser, Prometheus itself."""
    debian(session, "chromium", "chromium")
    debian(session, "prometheus", "promtool")
    install(session, "test")
    # It brings some 35 packages, which must not decide what ours are: an environment of its own.
    tools = BUILD / "peers" / "bin"
    session.run("python", "-m", "venv", str(tools.parent))
    session.run(str(tools / "pip"), "install", "--quiet", *group("signing"), external=True)
    session.run("pytest", "tests/peers", *session.posargs, env={"ANYA_MODEL_SIGNING": str(tools / "model_signing")})


@nox.session(name="rollout-simulation")
def rollout_simulation(session: nox.Session) -> None:
    """Play 2 000 rollouts of each kind: false rollbacks, found regressions, and the rules that fail there."""
    install(session, "test")
    # -s: each scenario says how its rollouts ended. One of them takes minutes.
    options = ("-s", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=3600")
    session.run("pytest", "tests/rollout", *options, *session.posargs, env={"ANYA_ROLLOUTS": "2000"})


@nox.session
def tests_cpp(session: nox.Session) -> None:
    """Run the C++ tests alone; nothing of Python is built. Arguments after `--` go to ctest."""
    session.install(*group("build", "models"))
    ctest(session, "tests", arguments=session.posargs)


@nox.session
@nox.parametrize("kind", ["address", "thread"])
def sanitize(session: nox.Session, kind: str) -> None:
    """Run C++ tests and the extension's under AddressSanitizer with UndefinedBehaviorSanitizer, or ThreadSanitizer."""
    session.install(*group("build", "test"), *PROJECT["project"]["dependencies"])
    kinds = "address;undefined" if kind == "address" else "thread"
    session.env["ASAN_OPTIONS"] = "detect_stack_use_after_return=1:strict_string_checks=1"
    session.env["UBSAN_OPTIONS"] = "print_stacktrace=1"
    # ONNX Runtime is not instrumented: its own locking is half seen, and its threads would seem to race.
    session.env["TSAN_OPTIONS"] = "halt_on_error=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1"
    # Warnings are held by the plain build: here GCC guesses wrong about what is uninitialised. Optimised as lightly.
    light = "-DCMAKE_CXX_FLAGS_RELWITHDEBINFO=-O1 -g1"
    options = ("-DCMAKE_BUILD_TYPE=RelWithDebInfo", light, f"-DANYA_SANITIZE={kinds}", "-DANYA_WERROR=OFF")
    pybind = answer(session, "import pybind11; print(pybind11.get_cmake_dir())")
    extension = ("-DANYA_BUILD_BINDINGS=ON", f"-Dpybind11_DIR={pybind}", f"-DPython_EXECUTABLE={session.bin}/python")
    # A simulation in one thread of what response_cache_test does with several, and minutes long when instrumented.
    chosen = session.posargs or ("--exclude-regex", "^hit_ratio_test$")
    ctest(session, f"sanitize-{kind}", *options, *extension, arguments=chosen)
    if not session.posargs:
        sanitize_extension(session, kind)


def sanitize_extension(session: nox.Session, kind: str) -> None:
    """Run what crosses between Python and the core on the instrumented extension, in an uninstrumented Python."""
    build = BUILD / f"sanitize-{kind}"
    package = build / "package" / "anya_engine"
    shutil.rmtree(package.parent, ignore_errors=True)
    shutil.copytree(ROOT / "src" / "anya_engine", package, ignore=shutil.ignore_patterns("_core*.so", "__pycache__"))
    shutil.copy2(next((build / "bindings").glob("_core*.so")), package)
    environment = {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    # A sanitizer that stops the process writes on descriptor 2: pytest must not keep that to itself.
    command = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys"]
    if kind == "address":
        # libstdc++ with it: the sanitizer looks for the real __cxa_throw when it starts.
        environment["LD_PRELOAD"] = f"{compilers('libasan.so')} {compilers('libstdc++.so')}"
        environment["PYTHONMALLOC"] = "malloc"  # Python's own allocator would hide overruns and leaks
        # Two frames, so that the suppressions see who allocated; more for a closer look at a report.
        environment["ASAN_OPTIONS"] = f"{session.env['ASAN_OPTIONS']}:detect_leaks=1:malloc_context_size=2"
        leaks = ROOT / "tests" / "sanitizers" / "lsan.supp"
        environment["LSAN_OPTIONS"] = f"suppressions={leaks}:print_suppressions=0"
    else:
        environment["LD_PRELOAD"] = compilers("libtsan.so")
    fixed = ["setarch", platform.machine(), "-R"]
    if kind == "thread" and subprocess.run([*fixed, "true"], check=False).returncode == 0:
        command = fixed + command
    files = ("infer", "async", "async_ends", "future", "chaos", "lifecycle", "batching", "bad_input", "drift_watch")
    tests = [f"tests/python/test_{name}.py" for name in files]
    session.run(*command, *tests, external=True, env=environment)


@nox.session
def relacy(session: nox.Session) -> None:
    """Put the lock-free parts through relacy's schedules; `-- long` takes minutes and looks further."""
    debian(session, "relacy-dev", "relacy/relacy.hpp")
    session.install(*group("build"))
    build = BUILD / "relacy"
    configure(session, build, "-DANYA_RELACY=ON", "-DANYA_WERROR=ON", "-DANYA_BUILD_BINDINGS=OFF")
    session.run("cmake", "--build", str(build), "--parallel", JOBS, "--target", "anya_relacy")
    for model in sorted((ROOT / "tests" / "relacy").glob("*_model.cc")):
        session.run(str(build / "tests" / "relacy" / model.stem), *session.posargs, external=True)


# What allocates, parses or hands memory between threads; the rest would only repeat it.
MEMCHECKED = (
    *("admission", "batch", "batch_former", "batcher", "batcher_close", "completion_queue", "deadline_timer"),
    *("event_count", "model_files", "request", "wire_walk"),
)


@nox.session
def memcheck(session: nox.Session) -> None:
    """Run some C++ tests and one short run of the engine under valgrind. Arguments after `--` choose the C++ tests."""
    debian(session, "valgrind", "valgrind")
    install(session, "build", "test")
    names = [f"{name}_test" for name in MEMCHECKED if not session.posargs or name in session.posargs]
    ctest(session, "tests", arguments=("-R", f"^({'|'.join(names)})$"))  # builds; what fails here needs no valgrind
    valgrind = ["valgrind", "--quiet", "--error-exitcode=99", "--num-callers=24"]
    valgrind.append(f"--suppressions={ROOT / 'tests' / 'sanitizers' / 'valgrind.supp'}")
    models = BUILD / "tests" / "test-models"
    environment = {"ANYA_TEST_MODELS": str(models), "ANYA_TEST_ORT_LIBRARY": runtime_library(session)}
    for name in names:
        program = str(BUILD / "tests" / "tests" / "cpp" / name)
        full = ["--leak-check=full", "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite"]
        session.run(*valgrind, *full, program, external=True, env=environment)
    if not session.posargs:
        # Python's and ONNX Runtime's leaks are the address sanitizer's subject: here, what is read and written.
        environment |= {"PYTHONMALLOC": "malloc", "PYTHONPATH": str(ROOT / "tests")}
        session.run(*valgrind, f"{session.bin}/python", "tests/sanitizers/short_run.py", external=True, env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style: ruff for Python, clang-format for C++. `-- --fix` repairs what can be repaired."""
    session.install(*group("lint"))
    fix = "--fix" in session.posargs
    session.run("ruff", "check", *(["--fix"] if fix else []), ".")
    session.run("ruff", "format", *([] if fix else ["--check"]), ".")
    files = [str(each) for each in sources(*CPP_FOLDERS) if each.suffix in {".h", ".cc", ".cpp"}]
    session.run("clang-format", *(["-i"] if fix else ["--dry-run", "--Werror"]), *files)


@nox.session
def tidy(session: nox.Session) -> None:
    """Read the C++ with clang-tidy; slow. Arguments after `--` are the files, default all sources."""
    session.install(*group("build", "tidy"))
    configure(session, BUILD / "tidy", "-DANYA_BUILD_BINDINGS=OFF")
    files = session.posargs or [str(each) for each in sorted(sources("cpp/src")) if each.suffix == ".cc"]
    command = ["nice", f"{session.bin}/clang-tidy", "--quiet", "-p", str(BUILD / "tidy"), "--warnings-as-errors=*"]

    def read(file: str) -> str:
        done = subprocess.run([*command, file], capture_output=True, text=True, check=False)
        return "" if done.returncode == 0 else done.stdout or done.stderr

    with ThreadPoolExecutor(int(JOBS)) as pool:  # a process for each file
        findings = dict(zip(files, pool.map(read, files), strict=True))
    for finding in filter(None, findings.values()):
        session.warn(finding)
    if failed := [file for file, finding in findings.items() if finding]:
        session.error(f"findings in {len(failed)} of {len(files)} files")


@nox.session
def typing(session: nox.Session) -> None:
    """Check the types with mypy --strict: the package, and the public API as users type it."""
    session.install(*group("typing"), *PROJECT["project"]["dependencies"], "nox")
    session.run("mypy")
    session.run("mypy", str(ROOT / "tests/python/typing/api.py"))


@nox.session
def stubs(session: nox.Session) -> None:
    """Compare the committed stub of the extension with the extension; `-- --write` replaces it."""
    install(session, "stubs", extras="cpu")
    session.run("python", "tests/stubs.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure against the rivals, in the same run. Arguments after `--` go to pytest."""
    install(session, "build", "bench")
    session.run("pytest", "benchmarks", "--benchmark-quiet", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz whatever reads foreign bytes under atheris, a minute each target; `-- --seconds 600`: ten."""
    install(session, "fuzz", extras="cpu")
    targets = ("descriptors", "schema", "bundle", "statement", "registry", "walk")
    session.run("python", "tests/fuzz/run.py", *targets, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Serve at 80 % load while models come and go: nothing may grow. A minute; `-- --seconds 600 --enforce`: ten."""
    install(session, "bench", extras="cpu")
    session.run("python", "benchmarks/soak.py", *session.posargs)


@nox.session
def chaos(session: nox.Session) -> None:
    """Threads, loops, failures, endless runs, cancellations and closes at random: each request ends once. A minute;
    `-- --seconds 300`: five.
    """
    install(session, "test", extras="cpu")
    session.chdir(ROOT / "tests")
    session.run("python", "-m", "python.long_chaos", *session.posargs, env={"PYTHONPATH": str(ROOT / "tests")})


@nox.session
def budget(session: nox.Session) -> None:
    """Count the instructions of a request in callgrind, and hold them to the budget; `-- --write` renews it."""
    debian(session, "valgrind", "valgrind")
    session.install(*group("build", "models"), *PROJECT["project"]["dependencies"])
    extension = wheel_of(session).extension
    build = BUILD / "budget"
    configure(session, build, "-DANYA_BUILD_BINDINGS=OFF", "-DANYA_BUILD_MARKS=ON")
    session.run("cmake", "--build", str(build), "--target", "callgrind_marks")
    package = build / "package" / "anya_engine"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "src" / "anya_engine", package, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy2(extension, package)
    session.run(
        *("python", "benchmarks/instruction_budget.py", "--package", str(package.parent)),
        *("--library", str(next((build / "benchmarks").rglob("callgrind_marks.so"))), "--dumps", str(build / "dumps")),
        *session.posargs,
    )


@nox.session
def wheel(session: nox.Session) -> None:
    """Build sdist and wheel, make the wheel portable, test it in a fresh environment without the source."""
    session.install(*group("wheel"))
    dist, portable = BUILD / "dist", BUILD / "portable"
    for folder in (dist, portable):
        shutil.rmtree(folder, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist), str(ROOT))  # the wheel is made from the sdist
    made = str(next(dist.glob("*.whl")))
    session.run("auditwheel", "show", made)
    session.run("auditwheel", "repair", "--wheel-dir", str(portable), made)
    # A fresh environment, and the tests without src/ beside them: what is tested is what is shipped.
    place = Path(session.create_tmp()).absolute()
    shutil.rmtree(place / "tree", ignore_errors=True)
    for name in ("tests", "cpp", "docs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / "tree" / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copyfile(ROOT / name, place / "tree" / name)
    (place / "tree" / "benchmarks").mkdir()
    session.run("python", "-m", "venv", "--clear", str(place / "venv"))
    python = str(place / "venv" / "bin" / "python")
    fresh = str(next(portable.glob("*.whl")))
    session.run(python, "-m", "pip", "install", "--quiet", f"{fresh}[cpu,tools]", *group("test"), external=True)
    with session.chdir(place / "tree"):
        command = [python, "-m", "pytest", "--ignore=tests/test_architecture.py"]
        session.run(*command, *(session.posargs or SIDE_BY_SIDE), external=True)


@nox.session
def mutants(session: nox.Session) -> None:
    """Break the code on purpose, one line at a time, and see that a test notices. Arguments choose mutants by name."""
    install(session, "build", "bench")
    session.run("python", "tests/mutants/run.py", *session.posargs)


if __name__ == "__main__":
    sys.exit("run me with nox: nox -l")
