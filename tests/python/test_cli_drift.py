# SPDX-License-Identifier: Apache-2.0
"""anya-engine profile and drift: files in, a verdict, numbers and a page out."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from python.cli_support import Capture, assert_refused, npz, run
from python.support import floats
from python.test_drift_watch import classifier

from anya_engine.profile import Profile


@pytest.fixture
def folder(tmp_path: Path, capsys: Capture) -> Path:
    """A model directory with a profile of 4 000 rows in it."""
    (tmp_path / "model.onnx").write_bytes(classifier())
    data = npz(tmp_path / "train.npz", x=floats(4000, 5, seed=1))
    status, out, err = run(capsys, "profile", tmp_path, "--data", data, "--out", tmp_path / "profile.json")
    assert (status, err) == (0, "")
    assert "4,000 rows counted" in out
    return tmp_path


def test_profile_counts_every_row(folder: Path) -> None:
    """The profile has the model's digest, its inputs and outputs, and all rows."""
    profile = Profile.from_json((folder / "profile.json").read_bytes())
    assert [(t.name, t.role, t.kind) for t in profile.tensors] == [
        ("x", "input", "columns"),
        ("p", "output", "classes"),
        ("same", "output", "columns"),
    ]
    assert profile.rows == 4000 and len(profile.digest) == 64


def test_the_same_rows_are_ok_and_others_are_drift(folder: Path, capsys: Capture) -> None:
    """Exit status 0 and OK for rows like the reference's, 1 and DRIFT for moved ones."""
    same = npz(folder / "same.npz", x=floats(3000, 5, seed=2))
    assert run(capsys, "drift", folder, "--data", same)[0] == 0
    moved = npz(folder / "moved.npz", x=floats(3000, 5, seed=3) + 0.5)
    status, out, err = run(capsys, "drift", folder, "--data", moved)
    assert (status, err) == (1, "")
    assert out.startswith("DRIFT: ")


def test_json_says_everything(folder: Path, capsys: Capture) -> None:
    """--json is one object with every feature's numbers and counts, NaN as null."""
    x = floats(3000, 5, seed=3)
    x[:, 2] = np.nan
    moved = npz(folder / "moved.npz", x=x)
    status, out, _ = run(capsys, "drift", folder, "--reference", folder / "profile.json", "--data", moved, "--json")
    facts = json.loads(out)
    assert status == 1 and facts["state"] == "DRIFT"
    by_name = {(f["tensor"], f["feature"]): f for f in facts["features"]}
    assert by_name["x", "[:,0]"]["state"] == "OK"
    assert by_name["x", "[:,2]"]["state"] == "DRIFT"
    assert by_name["x", "[:,2]"]["statistic"] is None and by_name["x", "[:,2]"]["nonfinite"] == 1.0
    assert sum(by_name["x", "[:,0]"]["counts"]) == 3000
    assert len(by_name["x", "[:,0]"]["history"]) == 8
    text = run(capsys, "drift", folder, "--data", moved)[1]
    (line,) = (line for line in text.splitlines() if "[:,2]" in line and line.startswith("x "))
    assert line.split()[-3:] == ["–", "–", "0"]  # what cannot be computed is a dash, not nan


class Parsed(html.parser.HTMLParser):
    """What a page holds, and whether its tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "rect", "path", "line", "polyline"} or tag == "rect":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(folder: Path, capsys: Capture) -> None:
    """One page: well-formed, a card and a drawing for every feature, no address, no script, text escaped."""
    profile = json.loads((folder / "profile.json").read_text())
    profile["created"] = "<script>alert(1)</script>"
    (folder / "profile.json").write_text(json.dumps(profile))
    moved = npz(folder / "moved.npz", x=floats(3000, 5, seed=3) + 0.5)
    page = folder / "report.html"
    assert run(capsys, "drift", folder, "--data", moved, "--html", page)[0] == 1
    text = page.read_text()
    parsed = Parsed(text)
    assert parsed.open == []
    cards = [attributes for tag, attributes in parsed.tags if tag == "article"]
    assert len(cards) == 14
    drawings = [a for tag, a in parsed.tags if tag == "svg" and a.get("class") == "distribution"]
    assert len(drawings) == 14
    assert not [tag for tag, _ in parsed.tags if tag in {"script", "link", "img", "iframe"}]
    assert "http:" not in text and "https:" not in text and "url(" not in text and "@import" not in text
    assert "&lt;script&gt;" in text
    assert '<h1 class="drift">' in text


def test_refusals(folder: Path, capsys: Capture) -> None:
    """No reference, no rows, another model's profile, pickles: one line, exit status 2, no page."""
    good = npz(folder / "good.npz", x=floats(10, 5))
    page = folder / "never.html"
    assert_refused(run(capsys, "drift", folder / "model.onnx", "--data", good), "no --reference")
    assert_refused(run(capsys, "drift", folder, "--data", folder / "no.npz", "--html", page), "no.npz")
    other = json.loads((folder / "profile.json").read_text())
    other["tensors"][0]["name"] = "z"
    (folder / "other.json").write_text(json.dumps(other))
    arguments = ("drift", folder, "--reference", folder / "other.json", "--data", good, "--html", page)
    assert_refused(run(capsys, *arguments), "another model", "'z'")
    (folder / "broken.json").write_text("{")
    assert_refused(run(capsys, "drift", folder, "--reference", folder / "broken.json", "--data", good), "no JSON")
    assert_refused(run(capsys, "profile", folder, "--data", good, "--labels", good, "--out", page), "labels")
    assert not page.exists()


def test_too_few_rows_are_no_verdict(folder: Path, capsys: Capture) -> None:
    """Ten rows are INSUFFICIENT, which is not DRIFT."""
    few = npz(folder / "few.npz", x=floats(10, 5))
    status, out, _ = run(capsys, "drift", folder, "--data", few, "--html", folder / "r.html")
    assert status == 0
    assert out.startswith("INSUFFICIENT")
    assert "10 values, 300 are needed" in (folder / "r.html").read_text()
