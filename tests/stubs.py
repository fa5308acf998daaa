# SPDX-License-Identifier: Apache-2.0
"""Compares the committed stub of the extension with the extension; `--write` replaces it. Run by `nox -s stubs`."""

from __future__ import annotations

import difflib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = Path(__file__).resolve().parents[1] / "src/anya_engine/_core.pyi"


def run(*command: str) -> None:
    """Run a tool of this environment; its silence is its success."""
    subprocess.run(
        [str(Path(sys.executable).with_name(command[0])), *command[1:]], check=True, stdout=subprocess.DEVNULL
    )


def made(folder: Path) -> str:
    """Write the stub of the installed extension."""
    run("pybind11-stubgen", "anya_engine._core", "--exit-code", "-o", str(folder))
    path = folder / "anya_engine" / "_core.pyi"
    path.write_text("# SPDX-License-Identifier: Apache-2.0\n" + path.read_text())
    run("ruff", "check", "--quiet", "--fix-only", "--isolated", "--select", "I,F401", str(path))
    run("ruff", "format", "--quiet", "--isolated", "--line-length", "120", str(path))
    return path.read_text()


def main() -> None:
    """Compare, or write."""
    folder = Path(tempfile.mkdtemp())
    try:
        new = made(folder)
    finally:
        shutil.rmtree(folder)
    if "--write" in sys.argv[1:]:
        KEPT.write_text(new)
        return
    old = KEPT.read_text().splitlines() if KEPT.is_file() else []
    difference = list(difflib.unified_diff(old, new.splitlines(), "committed", "built", lineterm=""))
    if difference:
        print("\n".join(difference))
        sys.exit("src/anya_engine/_core.pyi is not what the extension is: nox -s stubs -- --write")


if __name__ == "__main__":
    main()
