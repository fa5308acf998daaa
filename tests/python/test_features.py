# SPDX-License-Identifier: Apache-2.0
"""How rows become numbers: the core's are NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from anya_engine._drift_counts import numbers_of
from anya_engine._info import TensorSpec
from anya_engine._profile_build import build_profile


def tensor_profile(name: str, dtype: str, shape: tuple[Any, ...], array: Any, *, is_input: bool = True) -> Any:
    """The profile of one tensor."""
    spec = TensorSpec(name=name, dtype=dtype, shape=shape)
    sides = ({name: array}, {}) if is_input else ({}, {name: array})
    specs = ([spec], []) if is_input else ([], [spec])
    profile = build_profile(model="m", version="1", digest="", inputs=sides[0], outputs=sides[1], specs=specs)
    return profile.tensors[0]


def numbers(tensor: Any, array: Any) -> Any:
    """What the core makes of each row."""
    return numbers_of(tensor, array)


def test_images_are_summed_up() -> None:
    """A small image's numbers are NumPy's; a large one's, from a sample, are near; NaN is a share of its own."""
    rng = np.random.default_rng(5)
    for size, tolerance in ((8, 1e-9), (224, 0.08)):
        x = rng.uniform(0, 1, (2, 3, size, size)).astype(np.float32)
        x[:, 1] *= 2
        for array in (x, np.ascontiguousarray(x.transpose(0, 2, 3, 1))):
            made = numbers(tensor_profile("x", "float32", ("N", *array.shape[1:]), array), array)
            flat = x.reshape(2, -1).astype(np.float64)
            channels = x.reshape(2, 3, -1).mean(axis=2, dtype=np.float64)
            norms = np.linalg.norm(flat, axis=1)
            np.testing.assert_allclose(made[:, 0], flat.mean(axis=1), rtol=tolerance)
            np.testing.assert_allclose(made[:, 1], flat.std(axis=1), rtol=tolerance)
            np.testing.assert_allclose(made[:, 5], norms, rtol=tolerance)
            np.testing.assert_allclose(made[:, 7:], channels, rtol=tolerance)
            if size == 8:
                np.testing.assert_array_equal(made[:, 2:4], np.stack([flat.min(1), flat.max(1)], 1))
    x = rng.uniform(1, 2, (1, 1, 8, 16)).astype(np.float32)
    x[0, 0, 0, :4] = np.nan
    x[0, 0, 1, :8] = 0
    made = numbers(tensor_profile("x", "float32", ("N", 1, 8, 16), x), x)[0]
    np.testing.assert_allclose(made[[0, 4, 6]], [np.nanmean(x), 8 / 128, 4 / 128], rtol=1e-6)


def test_embeddings_are_projected() -> None:
    """Norm and cosine are NumPy's; projections keep distances on average; a sequence of vectors is averaged."""
    rng = np.random.default_rng(6)
    x = rng.normal(0.3, 1, (50, 100)).astype(np.float32)
    tensor = tensor_profile("e", "float32", ("N", 100), x)
    made = numbers(tensor, x)
    centroid = x.mean(axis=0, dtype=np.float64)
    norms = np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(made[:, 8], norms, rtol=1e-5)
    np.testing.assert_allclose(made[:, 9], x @ centroid / norms / np.linalg.norm(centroid), rtol=1e-4, atol=1e-5)
    assert 0.7 < (made[:, :8] ** 2).sum() / 8 / ((x**2).sum() / 100) < 1.4
    sequence = np.stack([x, x + 2, x - 2], axis=1)
    pooled = numbers(tensor_profile("e", "float32", ("N", "S", 100), sequence), sequence)
    np.testing.assert_allclose(pooled[:, :9], made[:, :9], rtol=1e-3, atol=1e-4)


def test_classes_and_tokens() -> None:
    """Entropy, margin and class are NumPy's; a row of ids is its length and one of its ids, padding never."""
    rng = np.random.default_rng(7)
    p = rng.dirichlet(np.full(37, 0.2), 40)
    p[3] = np.eye(37)[5]
    made = numbers(tensor_profile("p", "float64", ("N", 37), p, is_input=False), p)
    ranked = np.sort(p, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(p * np.log(p), axis=1)
    expected = np.stack([ranked[:, -1], ranked[:, -1] - ranked[:, -2], entropy, p.argmax(axis=1)], 1)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)
    ids = rng.integers(1, 30_000, (300, 20))
    for row, length in enumerate(rng.integers(0, 21, 300)):
        ids[row, length:] = 0
    tokens = numbers(tensor_profile("ids", "int64", ("N", "S"), ids), ids)
    np.testing.assert_array_equal(tokens[:, 0], (ids != 0).sum(axis=1))
    assert set(tokens[tokens[:, 0] == 0, 1]) <= {-1.0}
    some = tokens[tokens[:, 0] > 0, 1]
    assert some.min() >= 0 and some.max() == 31 and len(np.unique(some)) == 32


def test_integer_columns() -> None:
    """A column of few whole numbers is categorical with its rare ones together; of many, or of floats, numeric."""
    rng = np.random.default_rng(8)
    few, many = rng.integers(0, 3, (500, 1)), rng.integers(0, 1000, (500, 1))
    assert tensor_profile("c", "int64", ("N", 1), few).features[0].kind == "categorical"
    assert tensor_profile("c", "int64", ("N", 1), many).features[0].kind == "numeric"
    constant = tensor_profile("c", "float32", ("N", 1), np.full((500, 1), 0.1, np.float32)).features[0]
    assert constant.counts == (0, 500, 0)
    nothing = tensor_profile("c", "float32", ("N", 1), np.full((500, 1), np.nan, np.float32)).features[0]
    assert (nothing.n, nothing.nan, nothing.edges) == (0, 500, ())
