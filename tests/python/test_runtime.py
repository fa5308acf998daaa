# SPDX-License-Identifier: Apache-2.0
"""_runtime.py and _cuda.py: which library is taken, what is refused, what is loaded before it."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from anya_engine import _cuda, _runtime
from anya_engine.errors import ConfigError

CUDA = "libonnxruntime_providers_cuda.so"
Site = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a function that installs an imitated wheel into an otherwise empty site-packages."""
    root = tmp_path / "site-packages"
    root.mkdir()
    monkeypatch.setattr(sys, "path", [str(root)])
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)

    def install(name: str, version: str, files: dict[str, bytes]) -> Path:
        capi = root / "onnxruntime" / "capi"
        capi.mkdir(parents=True, exist_ok=True)
        (root / "onnxruntime" / "__init__.py").write_text("raise RuntimeError('must not be imported')\n")
        record = []
        for file, content in files.items():
            (capi / file).write_bytes(content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"onnxruntime/capi/{file},sha256={digest},{len(content)}")
        info = root / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "RECORD").write_text("\n".join([*record, f"{info.name}/RECORD,,"]))
        return capi

    return install


def test_installed_library_is_found_without_import() -> None:
    """The real wheel's library is found, by its version, without importing ONNX Runtime."""
    script = (
        "import sys; from anya_engine._runtime import find_runtime; found = find_runtime();"
        "assert 'onnxruntime' not in sys.modules; print(found.path, found.version, found.distribution)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert Path(said[0]).is_file()
    assert Path(said[0]).is_absolute()
    assert said[0].endswith(f"libonnxruntime.so.{said[1]}")
    assert said[2] in {"onnxruntime", "onnxruntime-gpu"}


def test_nothing_installed_is_refused_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ONNX Runtime the refusal is one line that holds the pip command."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(ConfigError) as caught:
        _runtime.find_runtime()
    assert "pip install 'anya-engine[cpu]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_of_the_same_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's own folder called onnxruntime is named as what stands in the way."""
    (tmp_path / "onnxruntime").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(ConfigError, match="is named onnxruntime but is not ONNX Runtime"):
        _runtime.find_runtime()


def test_single_wheel(site: Site) -> None:
    """One wheel: its library, its version, its name, nothing to remark."""
    capi = site("onnxruntime", "1.30.0", {"libonnxruntime.so.1.30.0": b"cpu"})
    found = _runtime.find_runtime()
    assert (str(capi / "libonnxruntime.so.1.30.0"), "1.30.0") == (found.path, found.version)
    assert (found.distribution, found.note, found.has_cuda) == ("onnxruntime", "", False)
    assert _runtime.find_runtime() == found


def test_gpu_wheel_has_cuda(site: Site) -> None:
    """The CUDA provider beside the library is seen."""
    site("onnxruntime-gpu", "1.30.0", {"libonnxruntime.so.1.30.0": b"gpu", CUDA: b"cuda"})
    assert _runtime.find_runtime().has_cuda


def test_two_wheels_of_unlike_versions(site: Site) -> None:
    """CPU 1.32 and GPU 1.31 lie side by side: the GPU one is taken, newer or not, and the choice is told."""
    site("onnxruntime", "1.32.0", {"libonnxruntime.so.1.32.0": b"cpu"})
    site("onnxruntime-gpu", "1.31.1", {"libonnxruntime.so.1.31.1": b"gpu", CUDA: b"cuda"})
    found = _runtime.find_runtime()
    assert (found.distribution, found.version) == ("onnxruntime-gpu", "1.31.1")
    assert "onnxruntime 1.32.0 and onnxruntime-gpu 1.31.1 are both installed" in found.note


@pytest.mark.parametrize(("last", "content"), [("onnxruntime", b"cpu"), ("onnxruntime-gpu", b"gpu")])
def test_two_wheels_of_one_version(site: Site, last: str, content: bytes) -> None:
    """Two wheels of one version share the file's name: whose bytes are there is told by RECORD, not by guessing."""
    name = "libonnxruntime.so.1.31.1"
    wheels = [("onnxruntime", {name: b"cpu"}), ("onnxruntime-gpu", {name: b"gpu", CUDA: b"cuda"})]
    for wheel, files in sorted(wheels, key=lambda each: each[0] == last):
        site(wheel, "1.31.1", files)
    found = _runtime.find_runtime()
    assert last == found.distribution
    assert content == Path(found.path).read_bytes()


def test_two_wheels_and_neither_whole(site: Site) -> None:
    """A library that is nobody's as recorded is not used."""
    capi = site("onnxruntime", "1.31.1", {"libonnxruntime.so.1.31.1": b"cpu"})
    site("onnxruntime-gpu", "1.31.1", {"libonnxruntime.so.1.31.1": b"gpu"})
    (capi / "libonnxruntime.so.1.31.1").write_bytes(b"???")
    with pytest.raises(ConfigError, match="overwrote each other"):
        _runtime.find_runtime()


def test_library_gone_with_the_other_wheel(site: Site) -> None:
    """Uninstalling one of two wheels takes the shared file along: the refusal says so."""
    capi = site("onnxruntime", "1.31.1", {"libonnxruntime.so.1.31.1": b"cpu"})
    (capi / "libonnxruntime.so.1.31.1").unlink()
    with pytest.raises(ConfigError, match="Reinstall"):
        _runtime.find_runtime()


@pytest.mark.parametrize(
    ("version", "refused"), [("1.27.9", True), ("1.28.0", False), ("1.100.0", False), ("2.0", False)]
)
def test_version_floor(site: Site, version: str, refused: bool) -> None:
    """1.28 is the oldest taken; versions are compared as numbers."""
    site("onnxruntime", version, {f"libonnxruntime.so.{version}": b"cpu"})
    if not refused:
        assert version == _runtime.find_runtime().version
        return
    with pytest.raises(ConfigError, match=r"pip install --upgrade 'onnxruntime>=1\.28'") as caught:
        _runtime.find_runtime()
    assert ("1.28", version) == (caught.value.limit, caught.value.value)


def test_library_without_a_wheel(site: Site, tmp_path: Path) -> None:
    """Put there by hand or built from source: the file is taken, its version read from its name."""
    site("onnxruntime", "1.31.1", {"libonnxruntime.so.1.31.1": b"cpu", "libonnxruntime.so.1.9.0": b"old"})
    shutil.rmtree(next((tmp_path / "site-packages").glob("*.dist-info")))
    found = _runtime.find_runtime()
    assert (found.version, found.distribution) == ("1.31.1", None)


def test_explicit_path(tmp_path: Path) -> None:
    """A path given is taken as it is, link or not; what is no file is refused."""
    library = tmp_path / "libonnxruntime.so.1.33.0"
    library.write_bytes(b"mine")
    link = tmp_path / "libonnxruntime.so"
    link.symlink_to(library.name)
    assert (str(library), "1.33.0") == (_runtime.find_runtime(library).path, _runtime.find_runtime(library).version)
    assert (str(link), "1.33.0") == (_runtime.find_runtime(link).path, _runtime.find_runtime(str(link)).version)
    for wrong, words in ((tmp_path / "nowhere.so", "does not exist"), (tmp_path, "is no regular file")):
        with pytest.raises(ConfigError, match=words) as caught:
            _runtime.find_runtime(wrong)
        assert caught.value.field == "runtime"
    old = tmp_path / "libonnxruntime.so.1.20.0"
    old.write_bytes(b"old")
    with pytest.raises(ConfigError, match=r"older than 1\.28"):
        _runtime.find_runtime(old)


def compile_library(path: Path, *needs: Path) -> Path:
    """Compile an empty library that needs others by name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folders = [argument for need in needs for argument in ("-L", str(need.parent), f"-l:{need.name}")]
    command = ["c++", "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-Wl,--no-as-needed", "-x", "c++", "/dev/null"]
    subprocess.run([*command, "-x", "none", *folders, "-o", str(path)], check=True)
    return path


@pytest.mark.skipif(shutil.which("c++") is None, reason="no compiler on this machine")
def test_cuda_libraries_are_loaded_in_order(tmp_path: Path) -> None:
    """What the provider needs is loaded from the wheels, needed ones first; then the provider itself opens."""
    lib = tmp_path / "nvidia" / "cu13" / "lib"
    lt = compile_library(lib / "libanyaLt.so.13")
    blas = compile_library(lib / "libanyablas.so.13", lt)
    compile_library(lib / "libnvrtc.so.13")
    compile_library(tmp_path / "nvidia" / "cuda_nvrtc" / "lib" / "libnvrtc.so.12")
    compile_library(tmp_path / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9")
    provider = compile_library(tmp_path / "capi" / "libprovider.so", blas)
    script = (
        f"import ctypes, sys; from pathlib import Path; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from anya_engine._cuda import preload_cuda\n"
        f"provider = Path({str(provider)!r})\n"
        "try: ctypes.CDLL(str(provider)); sys.exit('found without help: the test proves nothing')\n"
        "except OSError: pass\n"
        "print(*(Path(each).name for each in preload_cuda(provider)))\n"
        "ctypes.CDLL(str(provider))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["libanyaLt.so.13", "libanyablas.so.13", "libcudnn.so.9", "libnvrtc.so.13"]


def test_no_cuda_wheels_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without NVIDIA's wheels, or with a provider that is no library, nothing is loaded and nothing is raised."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    broken = tmp_path / "broken.so"
    for content in (b"", b"\x7fELF\x02\x01" + b"\xff" * 100, b"text" * 40):
        broken.write_bytes(content)
        assert _cuda.preload_cuda(broken) == ()
    assert _cuda.preload_cuda(tmp_path / "nowhere.so") == ()


@pytest.mark.skipif(shutil.which("readelf") is None, reason="no readelf on this machine")
def test_needed_names_are_those_of_readelf() -> None:
    """The names read from a real library are those that binutils reads."""
    library = Path(_runtime.find_runtime().path)
    said = subprocess.run(["readelf", "-dW", str(library)], capture_output=True, text=True, check=True).stdout
    expected = [line.split("[")[1].rstrip("]") for line in said.splitlines() if "(NEEDED)" in line]
    assert expected == list(_cuda._needed(library))
    assert expected
