# SPDX-License-Identifier: Apache-2.0
"""A reference profile, `anya.profile/1`: how a model's inputs and outputs were distributed, as counts.

Counts, not shares: how far two samples may differ by chance depends on how many they are, and counts of two profiles
over the same bins can be added. `docs/drift.md` has the format.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NoReturn, TypeAlias, get_args

from ._features import KINDS, Kind
from .errors import ConfigError

__all__ = ["SCHEMA", "Confidence", "FeatureProfile", "Moments", "Profile", "TensorProfile"]

SCHEMA = "anya.profile/1"
#: Bytes of a profile that is read; numbers in it; bins of a feature.
MOST_BYTES = 64 << 20
MOST_BINS = 1024
#: A category: text, or a whole number.
Category: TypeAlias = str | int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """Of the finite values.

    Attributes:
        n: How many.
        mean: Their mean; 0 where there are none, like the next three.
        m2: Sum of squared distances from the mean.
        min: The least.
        max: The greatest.
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0
    min: float = 0.0
    max: float = 0.0

    @property
    def std(self) -> float:
        """Standard deviation (of a sample)."""
        return math.sqrt(max(0.0, self.m2) / (self.n - 1)) if self.n > 1 else 0.0

    def merged(self, other: Moments) -> Moments:
        """Of both together (Chan, Golub and LeVeque 1979)."""
        if not self.n or not other.n:
            return other if not self.n else self
        n, apart = self.n + other.n, other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + apart * other.n / n,
            m2=self.m2 + other.m2 + apart * apart * self.n * other.n / n,
            min=min(self.min, other.min),
            max=max(self.max, other.max),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FeatureProfile:
    """One number of each row.

    Attributes:
        path: Its name in the tensor: "[:,3]", "@norm".
        kind: "numeric" or "categorical".
        edges: Numeric: where bins meet, ascending. Bin k holds edges[k - 1] < x <= edges[k]; the first and the last
            have no end.
        categories: Categorical: the most frequent values, each a bin.
        tail: Categorical: the rarer values, together one bin after those.
        counts: By bin.
        nan: How many were NaN; they are in no bin.
        pos_inf: How many were +infinity; likewise.
        neg_inf: How many were -infinity; likewise.
        moments: Of a numeric one's finite values.
    """

    path: str
    kind: str
    edges: tuple[float, ...] = ()
    categories: tuple[Category, ...] = ()
    tail: tuple[Category, ...] = ()
    counts: tuple[int, ...] = ()
    nan: int = 0
    pos_inf: int = 0
    neg_inf: int = 0
    moments: Moments = dataclasses.field(default_factory=Moments)

    @property
    def n(self) -> int:
        """Values in bins."""
        return sum(self.counts)

    @property
    def nonfinite(self) -> int:
        """Values in none."""
        return self.nan + self.pos_inf + self.neg_inf


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TensorProfile:
    """An input or output.

    Attributes:
        name: Its name in the model.
        role: "input" or "output".
        dtype: NumPy's name.
        shape: As the model says it.
        kind: How a row of it becomes numbers (`_features`).
        centroid: Of an embedding: the mean row.
        features: What was counted.
    """

    name: str
    role: str
    dtype: str
    shape: tuple[int | str | None, ...]
    kind: Kind
    centroid: tuple[float, ...] = ()
    features: tuple[FeatureProfile, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """What the model's confidence says of its accuracy, learned from labels.

    Attributes:
        tensor: The output whose greatest probability is the confidence.
        threshold: So many of the reference's answers were less confident as were wrong (Garg et al. 2022).
        accuracy: Share of the reference's answers that were right.
        n: Labels.
    """

    tensor: str
    threshold: float
    accuracy: float
    n: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How a model's inputs and outputs were distributed.

    Attributes:
        model: The model's name.
        version: Its version.
        digest: SHA-256 of what was parsed of it: the version that the outputs are of.
        created: When, in ISO 8601; "" when nobody said.
        rows: Rows that were counted.
        tensors: Inputs, then outputs; those that are watched.
        confidence: None where no labels were given.
    """

    model: str
    version: str
    digest: str
    created: str = ""
    rows: int = 0
    tensors: tuple[TensorProfile, ...] = ()
    confidence: Confidence | None = None

    def to_json(self) -> str:
        """The file that `from_json` reads as this profile."""
        facts = dataclasses.asdict(self)
        identity = {key: facts.pop(key) for key in ("model", "version", "digest")}
        tensors = facts.pop("tensors")
        for tensor in tensors:
            for feature in tensor["features"]:
                wanted = ("categories", "tail") if feature["kind"] == "categorical" else ("edges", "moments")
                for key in {"edges", "moments", "categories", "tail"} - set(wanted):
                    del feature[key]
        return json.dumps(
            {"schema": SCHEMA, "model": identity, **facts, "tensors": tensors}, allow_nan=False, separators=(",", ":")
        )

    @classmethod
    def from_json(cls, content: bytes | str, place: str = "profile") -> Profile:
        """Read and check.

        Args:
            content: The file's bytes.
            place: What errors call it.

        Raises:
            ConfigError: It is no profile, or contradicts itself; the message says where.
        """
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{place} holds more than {MOST_BYTES} bytes", field=place, limit=MOST_BYTES)
        try:
            facts = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{place} is no JSON: {error}", field=place) from error
        return _Reader(place).profile(facts)


class _Reader:
    """From JSON of unknown origin to a profile; `place` is where we are."""

    def __init__(self, place: str) -> None:
        self.place = place

    def fail(self, where: str, rule: str, value: object) -> NoReturn:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        raise ConfigError(f"{self.place}: {where} {rule}, got {shown}", field=where, value=value)

    def table(self, value: object, where: str) -> Mapping[str, Any]:
        return value if isinstance(value, dict) else self.fail(where, "must be an object", value)

    def items(self, value: object, where: str, most: int) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            self.fail(where, f"must be a list of at most {most}", value)
        return value

    def text(self, value: object, where: str) -> str:
        return value if isinstance(value, str) and len(value) <= 65_536 else self.fail(where, "must be text", value)

    def word(self, value: object, where: str, allowed: tuple[str, ...]) -> str:
        return value if value in allowed else self.fail(where, f"must be one of {', '.join(allowed)}", value)

    def count(self, value: object, where: str) -> int:
        is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62
        return value if is_count else self.fail(where, "must be a count", value)  # type: ignore[return-value]

    def number(self, value: object, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.fail(where, "must be a finite number", value)
        return float(value)

    def profile(self, facts: object) -> Profile:
        root = self.table(facts, "the file")
        if root.get("schema") != SCHEMA:
            self.fail("schema", f"must be {SCHEMA!r}", root.get("schema"))
        model = self.table(root.get("model"), "model")
        tensors = self.items(root.get("tensors"), "tensors", 10_000)
        confidence = root.get("confidence")
        return Profile(
            model=self.text(model.get("model"), "model.model"),
            version=self.text(model.get("version"), "model.version"),
            digest=self.text(model.get("digest"), "model.digest"),
            created=self.text(root.get("created", ""), "created"),
            rows=self.count(root.get("rows"), "rows"),
            tensors=tuple(self.tensor(each, f"tensors[{i}]") for i, each in enumerate(tensors)),
            confidence=None if confidence is None else self.confidence(confidence),
        )

    def confidence(self, value: object) -> Confidence:
        facts = self.table(value, "confidence")
        accuracy = self.number(facts.get("accuracy"), "confidence.accuracy")
        if not 0 <= accuracy <= 1:
            self.fail("confidence.accuracy", "must be a share", accuracy)
        return Confidence(
            tensor=self.text(facts.get("tensor"), "confidence.tensor"),
            threshold=self.number(facts.get("threshold"), "confidence.threshold"),
            accuracy=accuracy,
            n=self.count(facts.get("n"), "confidence.n"),
        )

    def tensor(self, value: object, where: str) -> TensorProfile:
        facts = self.table(value, where)
        shape = self.items(facts.get("shape"), f"{where}.shape", 64)
        for axis in shape:
            if axis is not None and not isinstance(axis, (int, str)):
                self.fail(f"{where}.shape", "must hold sizes, names and nulls", axis)
        features = self.items(facts.get("features"), f"{where}.features", 1_000_000)
        centroid = self.items(facts.get("centroid", []), f"{where}.centroid", 1 << 20)
        return TensorProfile(
            name=self.text(facts.get("name"), f"{where}.name"),
            role=self.word(facts.get("role"), f"{where}.role", ("input", "output")),
            dtype=self.text(facts.get("dtype"), f"{where}.dtype"),
            shape=tuple(shape),
            kind=self.word(facts.get("kind"), f"{where}.kind", KINDS),  # type: ignore[arg-type]
            centroid=tuple(self.number(each, f"{where}.centroid") for each in centroid),
            features=tuple(self.feature(each, f"{where}.features[{i}]") for i, each in enumerate(features)),
        )

    def feature(self, value: object, where: str) -> FeatureProfile:
        facts = self.table(value, where)
        kind = self.word(facts.get("kind"), f"{where}.kind", ("numeric", "categorical"))
        counts = self.items(facts.get("counts"), f"{where}.counts", MOST_BINS)
        read: dict[str, Any] = {
            "path": self.text(facts.get("path"), f"{where}.path"),
            "kind": kind,
            "counts": tuple(self.count(each, f"{where}.counts") for each in counts),
            **{key: self.count(facts.get(key, 0), f"{where}.{key}") for key in ("nan", "pos_inf", "neg_inf")},
        }
        if kind == "categorical":
            for key, most in (("categories", MOST_BINS), ("tail", 1 << 20)):
                categories = self.items(facts.get(key, []), f"{where}.{key}", most)
                for each in categories:
                    if isinstance(each, bool) or not isinstance(each, get_args(Category)):
                        self.fail(f"{where}.{key}", "must hold text and whole numbers", each)
                read[key] = tuple(categories)
            bins = len(read["categories"]) + bool(read["tail"])
        else:
            edges = self.items(facts.get("edges", []), f"{where}.edges", MOST_BINS)
            read["edges"] = tuple(self.number(each, f"{where}.edges") for each in edges)
            if any(a >= b for a, b in pairwise(read["edges"])):
                self.fail(f"{where}.edges", "must be ascending", edges)
            read["moments"] = self.moments(facts.get("moments", {}), f"{where}.moments")
            bins = len(edges) + 1
        if len(counts) != bins:
            self.fail(f"{where}.counts", f"must be one for each of {bins} bins", counts)
        return FeatureProfile(**read)

    def moments(self, value: object, where: str) -> Moments:
        facts = self.table(value, where)
        read = {key: self.number(facts.get(key, 0.0), f"{where}.{key}") for key in ("mean", "m2", "min", "max")}
        return Moments(n=self.count(facts.get("n", 0), f"{where}.n"), **read)
