# SPDX-License-Identifier: Apache-2.0
"""Counts the instructions of a request, layer by layer, and holds them to instruction_budget.toml.

`nox -s budget`; `-- --write` renews the file, `-- --top 25` also lists where the instructions go. Time on a shared
machine is noise, a number of instructions is not: the same build counts the same to a few in a thousand.

Held is what is ours. `core` and `binding`: their own instructions, and the C library's that they asked for. `asked`:
what the binding asked of Python and NumPy. `python`: the difference to the same requests without our Python layer.
The last two depend on the versions of Python and NumPy, and are held for the versions the file was made with.
`worker` is the core on its own threads, per queued request. ONNX Runtime's instructions are shown, not held.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import callgrind_profile
from callgrind_profile import Profile

HERE = Path(__file__).parent
BUDGET = HERE / "instruction_budget.toml"
#: A figure above its budget by more than this share fails; one as far below asks for a lower budget.
SLACK = 0.10
#: Requests of each path, a multiple of those in flight.
REQUESTS, IN_FLIGHT = 640, 64
#: How often a machine may be too slow, and the status that tells of it (budget_paths.py).
ATTEMPTS, OTHER_PATH = 3, 75
OF_VERSIONS = ("asked", "python")
#: Path -> the same without our Python layer.
BARE = {"infer": "infer_bare", "async_1": "async_1_bare"}
QUEUED = "async_64_queued"
VERSIONS = "made_with"

Figures = Mapping[str, Mapping[str, float]]  # path -> layer -> instructions per request


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One layer of one path against its budget."""

    path: str
    layer: str
    budget: float | None
    measured: float | None
    held: bool = True

    @property
    def verdict(self) -> str:
        """In a word: fits, over, under, missing (in the budget or in the measurement), or not held."""
        if not self.held:
            return "not held"
        if self.budget is None or self.measured is None:
            return "missing"
        if self.measured > self.budget * (1 + SLACK):
            return "over"
        return "under" if self.measured < self.budget * (1 - SLACK) else "fits"

    @property
    def fails(self) -> bool:
        """Whether the check fails because of it."""
        return self.verdict in {"over", "missing"}


def compare(budget: Figures, measured: Figures, *, same_versions: bool = True) -> list[Finding]:
    """Every layer of every path that either side knows. Pure."""
    return [
        Finding(
            path=path,
            layer=layer,
            budget=budget.get(path, {}).get(layer),
            measured=measured.get(path, {}).get(layer),
            held=same_versions or layer not in OF_VERSIONS,
        )
        for path in dict.fromkeys([*budget, *measured])
        for layer in dict.fromkeys([*budget.get(path, {}), *measured.get(path, {})])
    ]


def figures(
    profiles: Mapping[str, Profile], workers: Profile, requests: int, queued: int
) -> dict[str, dict[str, float]]:
    """Instructions per request by path and layer, of the layers that are held. Pure."""
    result: dict[str, dict[str, float]] = {}
    for path, profile in profiles.items():
        if path in BARE.values():
            continue
        layers = {"core": _core(profile) / requests, "binding": _own(profile, "binding") / requests}
        asked = sum(profile.calls_out["binding", owner] for owner in ("interpreter", "numpy"))
        layers["asked"] = asked / requests
        if path in BARE:
            bare = profiles[BARE[path]]
            layers["python"] = (profile.objects["interpreter"] - bare.objects["interpreter"]) / requests
        if path == QUEUED:
            layers["worker"] = (_core(workers) + _own(workers, "binding")) / queued
        result[path] = {layer: round(value) for layer, value in layers.items()}
    return result


def _own(profile: Profile, layer: str) -> int:
    return profile.layers[layer] + profile.calls_out[layer, "libc"]


def _core(profile: Profile) -> int:
    return sum(_own(profile, layer) for layer in list(profile.layers) if layer != "binding")


def measure(library: Path, package: Path, folder: Path) -> tuple[dict[str, Profile], Profile]:
    """Run the paths in callgrind; return a profile per path, and one of all threads but the main one."""
    options = ("--instr-atstart=no", "--separate-threads=yes", "--compress-strings=no", "--compress-pos=no")
    command = ["valgrind", "--quiet", "--tool=callgrind", *options, f"--callgrind-out-file={folder / 'dump'}"]
    command += [sys.executable, str(HERE / "budget_paths.py"), str(library.resolve()), str(REQUESTS), str(IN_FLIGHT)]
    environment = {"PYTHONPATH": str(package.resolve()), "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1"}
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        status = subprocess.run(command, env=os.environ | environment, check=False).returncode
        if status != OTHER_PATH:
            break
        print(f"attempt {attempt} of {ATTEMPTS}: this machine was held up, and with it the count", flush=True)
    if status != 0:
        sys.exit(f"{' '.join(command)} ended with {status}")
    profiles: dict[str, Profile] = {}
    workers = Profile()
    for path in sorted(folder.glob("dump*-*")):
        with path.open() as lines:
            trigger = next((line for line in lines if line.startswith("desc: Trigger: ")), "")
            _, request, name = trigger.strip().partition("Client Request: ")
            if request:
                profiles[name] = callgrind_profile.read(lines)
            elif not path.name.endswith("-01"):  # what threads had counted when they ended
                workers.add(callgrind_profile.read(lines))
    return profiles, workers


def versions() -> dict[str, str]:
    """What `asked` and `python` depend on."""
    return {"python": ".".join(platform.python_version_tuple()[:2]), "numpy": version("numpy").rpartition(".")[0]}


def to_toml(found: Figures, made_with: Mapping[str, str]) -> str:
    """The budget file."""
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        "# Instructions per request, by path and layer: instruction_budget.py. Renewed by `nox -s budget -- --write`.",
        *("", f"[{VERSIONS}]", *(f'{name} = "{value}"' for name, value in made_with.items())),
    ]
    for path, layers in found.items():
        lines += ["", f"[{path}]", *(f"{layer} = {value:.0f}" for layer, value in layers.items())]
    return "\n".join(lines) + "\n"


def table(findings: Iterable[Finding]) -> str:
    """The findings in text."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:,.0f}"

    lines = [f"{'path':16} {'layer':8} {'budget':>8} {'now':>8}"]
    for each in findings:
        lines.append(
            f"{each.path:16} {each.layer:8} {number(each.budget):>8} {number(each.measured):>8}  {each.verdict}"
        )
    return "\n".join(lines)


def breakdown(name: str, profile: Profile, requests: int, top: int) -> str:
    """Where the instructions of a path go."""

    def shares(counts: Mapping[str, int]) -> str:
        return ", ".join(f"{key} {value / requests:,.0f}" for key, value in sorted(counts.items(), key=lambda x: -x[1]))

    lines = [
        f"\n{name}: {profile.total / requests:,.0f} instructions per request",
        f"  by library: {shares(profile.objects)}",
    ]
    lines.append(f"  ours: {shares(profile.layers)}")
    lines.append(f"  asked for: {shares({'->'.join(key): value for key, value in profile.calls_out.items()})}")
    for (layer, function), cost in profile.functions.most_common(top):
        lines.append(f"    {cost / requests:9.1f}  {layer:9} {function}")
    for (function, called), cost in profile.outside.most_common(top):
        lines.append(f"    {cost / requests:9.1f}  {called} <- {function}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Count, show, compare or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True, help="the built callgrind_marks")
    parser.add_argument(
        "--package", type=Path, required=True, help="folder of anya_engine, its extension with line tables"
    )
    parser.add_argument("--dumps", type=Path, required=True, help="folder for callgrind's files")
    parser.add_argument("--write", action="store_true", help="renew the budget")
    parser.add_argument("--top", type=int, default=0, help="list so many functions of each path")
    options = parser.parse_args(arguments)
    profiles, workers = measure(options.library, options.package, options.dumps)
    queued = REQUESTS + IN_FLIGHT  # the last warm-up is counted on those threads too
    found = figures(profiles, workers, REQUESTS, queued)
    for name, profile in profiles.items():
        print(breakdown(name, profile, REQUESTS, options.top))
    print(breakdown("other threads, per queued request", workers, queued, options.top), "\n")
    if options.write:
        BUDGET.write_text(to_toml(found, versions()))
    budget = tomllib.loads(BUDGET.read_text()) if BUDGET.is_file() else {}
    same = budget.pop(VERSIONS, {}) == versions()
    findings = compare(budget, found, same_versions=same)
    print(table(findings))
    if not same:
        print(f"{' and '.join(OF_VERSIONS)} are not held: the budget was made with other versions than {versions()}")
    if any(each.verdict == "under" for each in findings):
        print(f"more than {SLACK:.0%} better than its budget: hold it with `nox -s budget -- --write`")
    return int(any(each.fails for each in findings))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
