# SPDX-License-Identifier: Apache-2.0
"""The page of `anya-engine drift` in a real browser: what is drawn, where, and how it reads in light and in dark."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.parts import const, model, value
from onnx import helper
from python.cli_support import npz

from anya_engine.cli import main

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

#: Asked of the page in the browser; its own policy allows no script, so this is asked of a copy without that policy.
QUESTION = """
<script>
addEventListener("load", () => {
  const cards = [...document.querySelectorAll("article")].map(card => {
    const box = card.getBoundingClientRect();
    const [was, now] = ["path.reference, rect.reference", "path.now, rect.now"].map(what =>
      [...card.querySelectorAll(what)].map(e => e.getBBox()).map(b => [b.x, b.y, b.width, b.height]));
    return {name: card.querySelector("h3").innerText, state: card.className, width: box.width, right: box.right,
      was, now, dots: card.querySelectorAll("circle").length,
      fill: card.querySelector(".fill") ? card.querySelector(".fill").getBoundingClientRect().width : 0,
      limit: card.querySelector(".gauge .limit") ? card.querySelector(".gauge .limit").getBoundingClientRect().left
        - card.querySelector(".bar").getBoundingClientRect().left : 0,
      overflow: [...card.querySelectorAll("svg")].some(s => s.getBoundingClientRect().right > box.right + 1)};
  });
  const colour = (element, what) => getComputedStyle(element)[what];
  document.title = "ANSWER" + JSON.stringify({cards, verdict: document.querySelector("h1").innerText,
    ink: colour(document.body, "color"), paper: colour(document.body, "backgroundColor"),
    wide: document.documentElement.scrollWidth - innerWidth, rows: document.querySelectorAll("tbody tr").length});
});
</script>
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which one of three columns moved, and with it one of three outputs."""
    folder = tmp_path_factory.mktemp("drift")
    nodes = [helper.make_node("Add", ["x", "zero"], ["y"])]
    made = model(nodes, [value("x", ["N", 3])], [value("y", ["N", 3])], [const("zero", [0.0], np.float32)])
    (folder / "model.onnx").write_bytes(made)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 3)).astype(np.float32)
    moved = rng.normal(size=(4000, 3)).astype(np.float32) + np.array([2.0, 0, 0], np.float32)
    train, now = npz(folder / "train.npz", x=x), npz(folder / "now.npz", x=moved)
    assert main(["profile", str(folder), "--data", train, "--out", str(folder / "profile.json")]) == 0
    assert main(["drift", str(folder), "--data", now, "--html", str(folder / "report.html")]) == 1
    return folder / "report.html"


def ask(page: Path, tmp_path: Path, *, dark: bool, width: int = 1400) -> Any:
    """What the browser made of the page."""
    assert BROWSER is not None, "Debian's chromium; `nox -s peers` installs it"
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy = tmp_path / "asked.html"
    copy.write_text(text.replace("</body>", QUESTION + "</body>"), encoding="utf-8")
    done = browser(
        tmp_path,
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--window-size={width},1600",
        "--dump-dom",
        copy.as_uri(),
    )
    found = re.search(r"<title>ANSWER(.*?)</title>", done, re.DOTALL)
    assert found is not None, done[:2000]
    return json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def browser(tmp_path: Path, *arguments: str) -> str:
    """Run the browser on one page, without a network."""
    fixed = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
    )
    command = [str(BROWSER), *fixed, "--virtual-time-budget=5000", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=True).stdout


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_what_is_drawn(page: Path, tmp_path: Path, dark: bool) -> None:
    """Both distributions, the threshold and the history of every feature are there, inside their cards, readable."""
    seen = ask(page, tmp_path, dark=dark)
    assert seen["verdict"] == "DRIFT"
    assert len(seen["cards"]) == seen["rows"] == 6
    for card in seen["cards"]:
        assert card["was"] and card["now"], card["name"]
        for _, _, width, height in (*card["was"], *card["now"]):
            assert width > 300 and height > 20
        assert card["dots"] >= 2 and not card["overflow"]
        drifted = card["state"] == "card drift"
        assert drifted == ("[:,0]" in card["name"])
        assert (card["fill"] > card["limit"]) == drifted
    assert [("drift" in card["state"]) for card in seen["cards"]] == [True, True, False, False, False, False]
    ink, paper = (sum(map(int, re.findall(r"\d+", seen[key])[:3])) for key in ("ink", "paper"))
    assert (ink - paper > 400) if dark else (paper - ink > 400)
    assert seen["wide"] <= 0


def test_a_narrow_window(page: Path, tmp_path: Path) -> None:
    """On a telephone's width nothing sticks out."""
    seen = ask(page, tmp_path, dark=False, width=500)  # the least that the browser's window takes
    assert seen["wide"] <= 0
    assert all(card["right"] <= 500 for card in seen["cards"])


def test_the_page_itself_is_shown(page: Path, tmp_path: Path) -> None:
    """The page as it is, policy and all, gives a picture that is not empty."""
    picture = tmp_path / "page.png"
    browser(tmp_path, "--window-size=1200,1400", f"--screenshot={picture}", page.as_uri())
    assert picture.stat().st_size > 40_000
