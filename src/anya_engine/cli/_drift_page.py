# SPDX-License-Identifier: Apache-2.0
"""One page that shows where a model has drifted: everything inline, nothing fetched, no script. Text is escaped."""

from __future__ import annotations

import math
from collections import Counter
from html import escape
from importlib.resources import files
from itertools import pairwise

from ..drift import DriftReport, DriftWindow, FeatureDrift, State
from ..profile import Profile

__all__ = ["page", "short"]

#: Features that are drawn; the others are in the table.
MOST_DRAWN = 60
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 420.0, 150.0, 4.0, 18.0
_ORDER: dict[State, int] = {"DRIFT": 0, "WARN": 1, "OK": 2, "INSUFFICIENT": 3}
_WORDS: dict[State, str] = {
    "DRIFT": "drifted",
    "WARN": "differ, little or not for long",
    "OK": "as in the reference",
    "INSUFFICIENT": "too few values to tell",
}


def page(report: DriftReport, reference: str, note: str, profile: Profile) -> str:
    """The page as text."""
    features = sorted(report.features, key=lambda f: (_ORDER[f.state], -_known(f.statistic)))
    states = Counter(feature.state for feature in features)
    title = escape(f"{report.name}:{report.version}")
    tiles = "".join(
        f'<li class="tile {state.lower()}"><b>{states[state]}</b><span>{escape(_WORDS[state])}</span></li>'
        for state in _ORDER
    )
    accuracy = ""
    if report.estimated_accuracy is not None and report.reference_accuracy is not None:
        accuracy = (
            f"<dt>Estimated accuracy</dt><dd>{report.estimated_accuracy:.1%} "
            f"(reference: {report.reference_accuracy:.1%})</dd>"
        )
    drawn = "".join(_card(feature) for feature in features[:MOST_DRAWN])
    more = f"<p>The other {len(features) - MOST_DRAWN} are in the table.</p>" if len(features) > MOST_DRAWN else ""
    style = (files(__package__) / "drift_page.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<title>{report.state} – {title}</title>
<style>{style}</style>
</head>
<body>
<header>
<p class="eyebrow">Drift of {title}</p>
<h1 class="{report.state.lower()}"><span class="dot"></span>{report.state}</h1>
<p class="why">{escape(report.why)}</p>
{f'<p class="note">{escape(note)}</p>' if note else ""}
<ul class="tiles">{tiles}</ul>
<dl>
<dt>Rows compared</dt><dd>{report.rows:,}</dd>
<dt>Reference</dt><dd>{escape(reference)}, {profile.rows:,} rows{_created(profile)}</dd>
<dt>Model</dt><dd><code>{escape(profile.digest[:16])}…</code></dd>
{accuracy}
</dl>
<p class="legend"><span class="key reference"></span>reference <span class="key now"></span>now</p>
</header>
<main>
<section class="cards">{drawn}</section>
{more}
<h2>All features</h2>
{_table(features)}
<h2>How to read this</h2>
<p>PSI is the population stability index over the reference's bins. The threshold is what it stays below by chance with
so many values; it falls as they grow. A feature <b>drifts</b> when it is above both its threshold and the least
difference that matters; above its threshold alone, it is a <b>warning</b>.</p>
</main>
</body>
</html>
"""


def _created(profile: Profile) -> str:
    return f", {escape(profile.created)}" if profile.created else ""


def _card(feature: FeatureDrift) -> str:
    name = f"{escape(feature.tensor)} <code>{escape(feature.feature)}</code>"
    drawing = _bars(feature) if feature.categories else _steps(feature)
    history = _history(feature.history)
    return f"""<article class="card {feature.state.lower()}">
<h3><span class="dot"></span>{name}<small>{escape(feature.role)}</small></h3>
<p class="why">{escape(feature.why)}</p>
{drawing}
{_gauge(feature)}
{history}
<dl class="facts">{_facts(feature)}</dl>
</article>
"""


def _facts(feature: FeatureDrift) -> str:
    facts = [("n", f"{feature.n:,}"), ("JS", short(feature.js_distance))]
    if feature.categories:
        facts.append(("unseen", f"{feature.unseen or 0.0:.2%}"))
    else:
        facts += [("KS", short(feature.ks_distance)), ("W1", f"{short(feature.wasserstein)} σ")]
        facts.append(("mean", f"{short(feature.reference_mean)} → {short(feature.mean)}"))
    if feature.nonfinite or feature.reference_nonfinite:
        facts.append(("NaN, ∞", f"{feature.reference_nonfinite:.2%} → {feature.nonfinite:.2%}"))
    return "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(value)}</dd></div>" for key, value in facts)


def _shares(counts: tuple[int, ...]) -> list[float]:
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _steps(feature: FeatureDrift) -> str:
    """Two densities over the feature's own axis; the outermost bins have no end and fade."""
    edges = list(feature.edges)
    if not edges:
        return '<p class="empty">The reference has no values.</p>'
    span = edges[-1] - edges[0]
    widths = sorted(right - left for left, right in pairwise(edges))
    if not widths or widths[0] < span / 400:
        return _bars(feature)  # a value that stands for a whole bin has no width that could be drawn
    margin = max(2 * widths[len(widths) // 2], 0.12 * span)
    ends = [edges[0] - margin, *edges, edges[-1] + margin]

    def x(value: float) -> float:
        return _LEFT + (value - ends[0]) / (ends[-1] - ends[0]) * (_WIDTH - 2 * _LEFT)

    sizes = [right - left for left, right in pairwise(ends)]
    before = [share / size for share, size in zip(_shares(feature.reference_counts), sizes, strict=True)]
    now = [share / size for share, size in zip(_shares(feature.counts), sizes, strict=True)]
    top = max([*before, *now]) or 1.0
    floor = _HEIGHT - _BOTTOM

    def path(heights: list[float]) -> str:
        points = [f"M{x(ends[0]):.1f} {floor:.1f}"]
        for height, (left, right) in zip(heights, pairwise(ends), strict=True):
            y = floor - height / top * (floor - 6)
            points.append(f"L{x(left):.1f} {y:.1f}L{x(right):.1f} {y:.1f}")
        return "".join(points) + f"L{x(ends[-1]):.1f} {floor:.1f}Z"

    shares = zip(pairwise(ends), _shares(feature.reference_counts), _shares(feature.counts), strict=True)
    columns = "".join(
        f'<rect class="hit" x="{x(left):.1f}" y="0" width="{max(0.1, x(right) - x(left)):.1f}" height="{floor:.1f}">'
        f"<title>{_bin_name(feature, i)}: reference {was:.1%}, now {share:.1%}</title></rect>"
        for i, ((left, right), was, share) in enumerate(shares)
    )
    middle = edges[len(edges) // 2]
    marks = "".join(
        f'<text x="{x(value):.1f}" y="{_HEIGHT - 5:.1f}" text-anchor="{anchor}">{escape(short(value))}</text>'
        for value, anchor in ((edges[0], "start"), (middle, "middle"), (edges[-1], "end"))
    )
    return _svg(
        f'<path class="reference" d="{path(before)}"/><path class="now" d="{path(now)}"/>'
        f'<line class="axis" x1="{_LEFT}" y1="{floor}" x2="{_WIDTH - _LEFT}" y2="{floor}"/>{marks}{columns}',
        f"{feature.tensor} {feature.feature}: reference against now",
    )


def _bin_name(feature: FeatureDrift, i: int) -> str:
    if feature.categories:
        return escape(feature.categories[i])
    low = short(feature.edges[i - 1]) if i else "-∞"
    high = short(feature.edges[i]) if i < len(feature.edges) else "∞"
    return f"{low} to {high}"


def _label(feature: FeatureDrift, i: int) -> str:
    if feature.categories:
        return feature.categories[i]
    return f"≤{short(feature.edges[i])}" if i < len(feature.edges) else "more"


def _bars(feature: FeatureDrift) -> str:
    """A pair of bars for each bin."""
    before, now = _shares(feature.reference_counts), _shares(feature.counts)
    top = max([*before, *now]) or 1.0
    floor, step = _HEIGHT - _BOTTOM, (_WIDTH - 2 * _LEFT) / len(before)
    parts = []
    for i, (was, share) in enumerate(zip(before, now, strict=True)):
        left = _LEFT + i * step
        title = f"<title>{_bin_name(feature, i)}: reference {was:.1%}, now {share:.1%}</title>"
        for name, value, offset in (("reference", was, 0.1), ("now", share, 0.5)):
            height = value / top * (floor - 6)
            parts.append(
                f'<rect class="{name}" x="{left + offset * step:.1f}" y="{floor - height:.1f}" '
                f'width="{0.4 * step:.1f}" height="{height:.1f}">{title}</rect>'
            )
        label = _label(feature, i)
        if 7 * len(label) <= step:
            text = escape(label)
            parts.append(f'<text x="{left + step / 2:.1f}" y="{_HEIGHT - 5:.1f}" text-anchor="middle">{text}</text>')
    axis = f'<line class="axis" x1="{_LEFT}" y1="{floor}" x2="{_WIDTH - _LEFT}" y2="{floor}"/>'
    return _svg("".join(parts) + axis, f"{feature.tensor} {feature.feature}: reference against now")


def _gauge(feature: FeatureDrift) -> str:
    """PSI as a bar, and where chance ends."""
    if math.isnan(feature.statistic) or math.isnan(feature.threshold):
        return f'<p class="gauge none">PSI {short(feature.statistic)}</p>'
    most = max(feature.statistic, feature.threshold, 0.1) * 1.15
    at, limit = (100 * value / most for value in (feature.statistic, feature.threshold))
    return (
        f'<p class="gauge"><span class="bar"><span class="fill" style="width:{at:.1f}%"></span>'
        f'<span class="limit" style="left:{limit:.1f}%"></span></span>'
        f"PSI <b>{short(feature.statistic)}</b> · by chance below {short(feature.threshold)}</p>"
    )


def _history(history: tuple[DriftWindow, ...]) -> str:
    """PSI by window, its threshold dashed."""
    if len(history) < 2:
        return ""
    height = 44.0
    top = max(_known(value) for window in history for value in (window.statistic, window.threshold)) * 1.1
    top = top if top > 0 else 1.0
    step = (_WIDTH - 2 * _LEFT - 8) / (len(history) - 1)

    def at(i: int, value: float) -> str:
        return f"{_LEFT + 4 + i * step:.1f},{height - 4 - max(0.0, _known(value)) / top * (height - 10):.1f}"

    judged = [(i, window) for i, window in enumerate(history) if not math.isnan(window.statistic)]
    values = " ".join(at(i, window.statistic) for i, window in judged)
    limits = " ".join(at(i, window.threshold) for i, window in judged)
    dots = ""
    for i, window in enumerate(history):
        x, y = at(i, window.statistic).split(",")
        title = f"<title>window {i + 1}, n = {window.n:,}: PSI {short(window.statistic)}, {window.state}</title>"
        dots += f'<circle class="{window.state.lower()}" cx="{x}" cy="{y}" r="3">{title}</circle>'
    return _svg(
        f'<polyline class="limit" points="{limits}"/><polyline class="line" points="{values}"/>{dots}',
        "PSI by window",
        height,
        "history",
    )


def _table(features: list[FeatureDrift]) -> str:
    rows = "".join(
        f'<tr class="{f.state.lower()}"><td>{escape(f.tensor)}</td><td><code>{escape(f.feature)}</code></td>'
        f'<td><span class="dot"></span>{f.state}</td>'
        + "".join(f"<td>{short(value)}</td>" for value in (f.statistic, f.threshold, f.js_distance, f.ks_distance))
        + f"<td>{f.n:,}</td></tr>"
        for f in features
    )
    head = "".join(
        f"<th>{name}</th>" for name in ("tensor", "feature", "state", "PSI", "by chance below", "JS", "KS", "n")
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _svg(content: str, label: str, height: float = _HEIGHT, kind: str = "distribution") -> str:
    box = f'viewBox="0 0 {_WIDTH:g} {height:g}" role="img" aria-label="{escape(label)}"'
    return f'<svg class="{kind}" {box}>{content}</svg>'


def short(value: float) -> str:
    """A number of three digits; a dash for what could not be computed."""
    return "–" if math.isnan(value) else f"{value:.3g}"


def _known(value: float) -> float:
    return -1.0 if math.isnan(value) else value
