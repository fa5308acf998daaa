# SPDX-License-Identifier: Apache-2.0
"""Plain ONNX Runtime, what every answer is compared with: one thread, the CPU, nothing of the engine."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import TensorProto

#: What ONNX Runtime raises. Its classes have no common base but this.
PlainError = Exception


class PlainSession:
    """A session and its answers by name. Not for two threads at once."""

    def __init__(self, model: bytes) -> None:
        """Open a model; raises what ONNX Runtime raises."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self._session.get_outputs()]
        places = [*self._session.get_inputs(), *self._session.get_outputs()]
        self._has_bfloat16 = any(place.type == "tensor(bfloat16)" for place in places)

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Answer; raises what ONNX Runtime raises."""
        if not self._has_bfloat16:
            return dict(zip(self.outputs, self._session.run(self.outputs, dict(inputs)), strict=True))
        # `run` knows NumPy's own types only; these go in and out as bytes.
        kept = {name: np.ascontiguousarray(array).reshape(np.shape(array)) for name, array in inputs.items()}
        values = self._session.run_with_ort_values(self.outputs, {name: value_of(each) for name, each in kept.items()})
        return {name: array_of(value) for name, value in zip(self.outputs, values, strict=True)}


def value_of(array: Any) -> ort.OrtValue:
    """An array as ONNX Runtime's own value; the array must outlive it."""
    if array.dtype.name != "bfloat16":
        return ort.OrtValue.ortvalue_from_numpy(array)
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), TensorProto.BFLOAT16)


def array_of(value: ort.OrtValue) -> Any:
    """A copy of what ONNX Runtime's own value holds."""
    if value.element_type() != TensorProto.BFLOAT16:
        return value.numpy()
    import ml_dtypes

    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, ml_dtypes.bfloat16).reshape(value.shape()).copy()
