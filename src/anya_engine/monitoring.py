# SPDX-License-Identifier: Apache-2.0
"""What is watched of a model beyond its requests. Pure."""

from __future__ import annotations

import dataclasses
from typing import Literal

from . import _checks as check
from ._tables import FromTable

__all__ = ["PredictionConfig"]

#: That are counted one by one; all others are "other".
MOST_CLASSES = 50


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PredictionConfig(FromTable):
    """How sure a classifier is, and which classes it predicts: counted for every answer that a run gives.

    One vector along the last axis of the output is one prediction. An output of one axis, or one whose last axis has
    one entry, holds one number for each row: of two classes, that of the second. Answers from the response cache are
    not counted again. The metrics are `anya_prediction_confidence` (largest probability), `anya_prediction_margin` (how
    far it is above the next one), `anya_prediction_entropy` (Shannon's, over its largest possible value ln n) and
    `anya_predictions_total`; what is no distribution counts there as class "invalid" and nowhere else.

    Attributes:
        values: What the output holds: "probabilities", or "logits", which go through softmax first (a single one
            through the logistic function).
        output: Its name; None: the first one that holds floats.
        classes: What the classes are called, 50 at most; None: their numbers, those from 50 on "other".
    """

    values: Literal["probabilities", "logits"] = "probabilities"
    output: str | None = None
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check.choice("values", self.values, ("probabilities", "logits"))
        if self.output is not None:
            check.text("output", self.output)
        if self.classes is not None:
            names = tuple(check.name("classes", each) for each in check.items("classes", self.classes))
            if len(set(names)) < len(names) or {"other", "invalid"} & set(names):
                check.refuse("classes", "must be different, and none of them 'other' or 'invalid'", names)
            if len(names) > MOST_CLASSES:
                check.refuse("classes", "are too many", len(names), MOST_CLASSES)
            object.__setattr__(self, "classes", names)
