# SPDX-License-Identifier: Apache-2.0
"""`anya-engine drift MODEL --reference profile.json --data Y.npz --html report.html`."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from .._drift import Counts, Rule, Verdict, estimated_accuracy, judge, needed
from .._drift_counts import counts_of_arrays
from .._drift_plan import check_fit
from .._drift_report import report_of
from ..drift import DriftReport, DriftWindow, State
from ..errors import ConfigError
from ..profile import FeatureProfile, Profile
from ._arrays import Arrays, leading_rows, read_inputs, replacing, write_text
from ._drift_page import page, short
from ._infer import answers
from ._model import add_model, opened
from ._parser import add_json, number
from ._text import CliError, counted, plain, print_json, print_table

__all__ = ["DESCRIPTION", "EPILOG", "SUMMARY", "add_to", "run"]

SUMMARY = "compare rows with a reference profile"
DESCRIPTION = """\
Run a model on the rows of an .npz file and compare what it was asked and what it answered with a reference
profile. All rows are one window: a difference is DRIFT when it is beyond chance and not small."""
EPILOG = """\
example:
  anya-engine drift models/ranker --data today.npz --html report.html
  anya-engine drift models/ranker --reference profile.json --data today.npz --json | jq .state

exit status: 1 when the verdict is DRIFT
"""
_MOST_PARTS = 24


def add_to(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_model(parser)
    parser.add_argument("--data", required=True, metavar="Y.npz", help="the rows")
    parser.add_argument(
        "--reference", metavar="profile.json", help="the profile (default: the profile.json of the directory MODEL)"
    )
    parser.add_argument("--html", metavar="report.html", help="write one self-contained page with everything drawn")
    parser.add_argument(
        "--alpha", type=number(0, 0.5), default=0.01, metavar="P", help="chance of a false alarm (0.01)"
    )
    parser.add_argument(
        "--psi-floor", type=number(0, 100, or_equal=True), default=0.1, metavar="X", help="PSI that is small (0.1)"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> bool:
    """Ask, count, compare, tell."""
    profile, place = _reference(arguments)
    with opened(arguments) as (engine, info):
        facts = {
            side: [(spec.name, spec.dtype, spec.shape) for spec in specs]
            for side, specs in (("inputs", info.inputs), ("outputs", info.outputs))
        }
        check_fit(profile, facts)
        inputs = read_inputs(arguments.data, info.inputs)
        outputs = answers(engine, info, inputs)
        note = ""
        if profile.digest != info.digest:
            note = f"the reference was made from {profile.model}:{profile.version}, digest {profile.digest[:12]}…"
        report = compared(profile, inputs, outputs, arguments.alpha, arguments.psi_floor, (info.name, info.version))
    if arguments.html is not None:
        text = page(report, place, note, profile)
        with replacing(arguments.html) as write:
            write(lambda file: write_text(file, text))
    if arguments.json:
        print_json({"html": arguments.html, **report.as_dict(), "reference": place, "note": note})
    else:
        _print(report, note, arguments.html)
    return report.state != "DRIFT"


def _reference(arguments: argparse.Namespace) -> tuple[Profile, str]:
    own = Path(arguments.model) / "profile.json"
    path = Path(arguments.reference) if arguments.reference is not None else own
    if arguments.reference is None and not own.is_file():
        raise CliError(f"no --reference, and {arguments.model} is no directory with a profile.json")
    try:
        return Profile.from_json(path.read_bytes(), path.name), str(path)
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}") from error


def compared(
    profile: Profile, inputs: Arrays, outputs: Arrays, alpha: float, floor: float, model: tuple[str, str]
) -> DriftReport:
    """Compare rows as one window; its parts, where they are large enough, are the history."""
    features = [feature for tensor in profile.tensors for feature in tensor.features]
    rule = Rule(alpha=alpha, psi_floor=floor, consecutive=1, features=sum(feature.n > 0 for feature in features))
    try:
        counts = counts_of_arrays(profile, inputs, outputs)
    except (ConfigError, KeyError, ValueError, IndexError) as error:
        raise CliError(f"the rows are not of the profile's kind: {error}") from error
    found = [
        _stated(feature, window, verdict)
        for feature, window, verdict in zip(features, counts, judge(features, counts, rule), strict=True)
    ]
    rows = leading_rows({**inputs, **outputs}) or max((each.n + each.nonfinite for each in counts), default=0)
    below = 0
    confidence = profile.confidence
    if confidence is not None:
        below = int((outputs[confidence.tensor].max(axis=1) < confidence.threshold).sum())
    return report_of(
        name=model[0],
        version=model[1],
        profile=profile,
        reference="",
        note="",
        rows=rows,
        sampled_rows=rows,
        found=found,
        histories=_history(profile, features, inputs, outputs, rule),
        accuracy=estimated_accuracy(below, rows),
    )


def _stated(
    feature: FeatureProfile, window: Counts, verdict: Verdict | None
) -> tuple[State, str, Counts, Verdict | None]:
    if verdict is None:
        why = f"{window.n} values, {needed(feature)} are needed" if feature.n else "the reference has no values of it"
        return "INSUFFICIENT", why, window, None
    return _state(verdict), verdict.why, window, verdict


def _state(verdict: Verdict) -> State:
    return "DRIFT" if verdict.large else "WARN" if verdict.significant else "OK"


def _history(
    profile: Profile, features: list[FeatureProfile], inputs: Arrays, outputs: Arrays, rule: Rule
) -> list[tuple[DriftWindow, ...]]:
    rows = leading_rows({**inputs, **outputs})
    enough = 1.2 * max((needed(feature) for feature in features), default=1)  # some may be NaN
    parts = min(_MOST_PARTS, int((rows or 0) / enough))
    histories: list[list[DriftWindow]] = [[] for _ in features]
    for part in range(parts if parts > 1 else 0):
        rows_of = slice(rows * part // parts, rows * (part + 1) // parts)  # type: ignore[operator]
        counts = counts_of_arrays(profile, _cut(inputs, rows_of), _cut(outputs, rows_of))
        for history, verdict in zip(histories, judge(features, counts, rule), strict=True):
            if verdict is not None:
                history.append(
                    DriftWindow(
                        time=part + 1.0,
                        n=verdict.n,
                        statistic=verdict.psi,
                        threshold=verdict.threshold,
                        state=_state(verdict),
                    )
                )
    return [tuple(history) for history in histories]


def _cut(arrays: Arrays, rows: slice) -> dict[str, Any]:
    return {name: array[rows] for name, array in arrays.items()}


def _print(report: DriftReport, note: str, html: str | None) -> None:
    print(plain(f"{report.state}: {report.why}"))
    if note:
        print(plain(f"note: {note}"))
    if report.estimated_accuracy is not None:
        print(f"estimated accuracy {report.estimated_accuracy:.1%}, in the reference {report.reference_accuracy:.1%}")
    worst_first = sorted(
        report.features, key=lambda f: (-["INSUFFICIENT", "OK", "WARN", "DRIFT"].index(f.state), -_known(f.statistic))
    )
    table = [("tensor", "feature", "state", "PSI", "by chance below", "n")]
    for feature in worst_first[:20]:
        numbers = (short(feature.statistic), short(feature.threshold), f"{feature.n:,}")
        table.append((feature.tensor, feature.feature, feature.state, *numbers))
    print_table(table, right=(3, 4, 5))
    if len(worst_first) > 20:
        print(f"and {counted(len(worst_first) - 20, 'feature')} more")
    if html is not None:
        print(plain(f"drawn in {html}"))


def _known(value: float) -> float:
    return -1.0 if math.isnan(value) else value
