# SPDX-License-Identifier: Apache-2.0
"""Prometheus itself: what it reads of a running service, and what promtool thinks of text and rules."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models.make_models import MODELS

import anya_engine as anya

RULES = Path(__file__).resolve().parents[2] / "docs" / "prometheus" / "anya-engine.rules.yml"
HUNG = 60.0

pytestmark = pytest.mark.skipif(shutil.which("promtool") is None, reason="Debian's package prometheus is not installed")


@pytest.fixture
def used(engine: anya.Engine) -> anya.Engine:
    """An engine with a name that needs escaping, predictions, a cache, a rollout, and requests behind it."""
    config = anya.ModelConfig(predictions=anya.PredictionConfig(values="logits"), cache=anya.CacheConfig())
    for version in "12":
        engine.load('odd "name"\\', MODELS["tiny"](), version=version, config=config)
    engine.deploy('odd "name"\\', "2", anya.Canary(steps=(25,), interval=60.0))
    for key in range(50):
        engine.infer('odd "name"\\', np.full((1, 64), key, np.float32), key=key)
    return engine


def promtool(*arguments: str, stdin: bytes | None = None) -> None:
    """Run it; what it complains of fails the test."""
    done = subprocess.run(["promtool", *arguments], input=stdin, capture_output=True, timeout=HUNG)
    assert (done.returncode, done.stderr.decode()) == (0, ""), done.stdout.decode() + done.stderr.decode()


def test_promtool_passes_the_exposition(used: anya.Engine) -> None:
    """Text and lint: names, units, help, no series twice."""
    promtool("check", "metrics", stdin=used.metrics_text())


def test_promtool_passes_the_rules() -> None:
    """Syntax, and no rule twice."""
    promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES))


@pytest.fixture
def prometheus(used: anya.Engine, tmp_path: Path) -> Iterator[str]:
    """A server that scrapes the engine's endpoint twice a second; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with anya.start_metrics_server(0, used) as server:
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [str(RULES)],
            "scrape_configs": [
                {"job_name": "service", "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]},
            ],
        }
        file = tmp_path / "prometheus.yml"
        file.write_text(json.dumps(config))  # JSON is YAML
        process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={file}", f"--storage.tsdb.path={tmp_path / 'data'}"),
                *(f"--web.listen-address=127.0.0.1:{port}", "--log.level=error", "--enable-feature=exemplar-storage"),
            ]
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(HUNG)


def asked(server: str, query: str) -> list[dict[str, Any]]:
    """What the query API says now; [] while the server starts."""
    url = f"{server}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=HUNG) as answer:
            return list(json.load(answer)["data"]["result"])
    except (urllib.error.URLError, ConnectionError):
        return []


def until_asked(server: str, query: str) -> list[dict[str, Any]]:
    """The same, once there is something."""
    end = time.monotonic() + HUNG
    while not (found := asked(server, query)):
        assert time.monotonic() < end, f"Prometheus never had {query}"
        time.sleep(0.1)
    return found


def test_prometheus_has_the_series(used: anya.Engine, prometheus: str) -> None:
    """It scrapes the running service, and its query API returns what the engine counted, labels to the byte."""
    name = 'odd "name"\\'
    (up,) = until_asked(prometheus, 'up{job="service"} == 1')
    assert up["value"][1] == "1"
    found = until_asked(prometheus, 'anya_requests_total{outcome="ok"} > 0')
    by_role = {(each["metric"]["version"], each["metric"]["role"]): int(each["value"][1]) for each in found}
    assert {each["metric"]["model"] for each in found} == {name}
    assert by_role.keys() == {("1", "stable"), ("2", "canary")} and sum(by_role.values()) == 50
    (quantile,) = until_asked(prometheus, "histogram_quantile(1, sum by (le) (anya_prediction_confidence_bucket))")
    assert 0 < float(quantile["value"][1]) <= 1
    until_asked(prometheus, "model:anya_request_error_ratio:rate5m")
    with urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=HUNG) as answer:
        rules = [rule for group in json.load(answer)["data"]["groups"] for rule in group["rules"]]
    assert rules and all(rule["health"] in ("ok", "unknown") and not rule.get("lastError") for rule in rules)
