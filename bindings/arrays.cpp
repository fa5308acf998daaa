// SPDX-License-Identifier: Apache-2.0
#include "arrays.h"

#include <cstring>
#include <new>
#include <utility>

namespace anya::python {
namespace {

using py::detail::array_proxy;
using py::detail::npy_api;

constexpr int kHalf = 23;                                  // NPY_HALF
constexpr int kStringType = 2056;                          // NPY_VSTRING, NumPy 2's StringDType
constexpr std::size_t kWrapFrom = std::size_t{64} << 10U;  // smaller outputs are cheaper copied than wrapped

int type_number(PyObject* array) noexcept {
  return py::detail::array_descriptor_proxy(array_proxy(array)->descr)->type_num;
}

// NumPy's type numbers on LP64 Linux, `long` and `long long` both 64 bits.
DType dtype_of(int number) noexcept {
  switch (number) {
    case npy_api::NPY_BOOL_:
      return DType::kBool;
    case npy_api::NPY_BYTE_:
      return DType::kInt8;
    case npy_api::NPY_UBYTE_:
      return DType::kUInt8;
    case npy_api::NPY_SHORT_:
      return DType::kInt16;
    case npy_api::NPY_USHORT_:
      return DType::kUInt16;
    case npy_api::NPY_INT_:
      return DType::kInt32;
    case npy_api::NPY_UINT_:
      return DType::kUInt32;
    case npy_api::NPY_LONG_:
    case npy_api::NPY_LONGLONG_:
      return DType::kInt64;
    case npy_api::NPY_ULONG_:
    case npy_api::NPY_ULONGLONG_:
      return DType::kUInt64;
    case npy_api::NPY_FLOAT_:
      return DType::kFloat32;
    case npy_api::NPY_DOUBLE_:
      return DType::kFloat64;
    case kHalf:
      return DType::kFloat16;
    default:
      return DType::kUndefined;
  }
}

int number_of(DType dtype) noexcept {
  switch (dtype) {
    case DType::kBool:
      return npy_api::NPY_BOOL_;
    case DType::kInt8:
      return npy_api::NPY_BYTE_;
    case DType::kUInt8:
      return npy_api::NPY_UBYTE_;
    case DType::kInt16:
      return npy_api::NPY_SHORT_;
    case DType::kUInt16:
      return npy_api::NPY_USHORT_;
    case DType::kInt32:
      return npy_api::NPY_INT_;
    case DType::kUInt32:
      return npy_api::NPY_UINT_;
    case DType::kInt64:
      return npy_api::NPY_LONG_;
    case DType::kUInt64:
      return npy_api::NPY_ULONG_;
    case DType::kFloat32:
      return npy_api::NPY_FLOAT_;
    case DType::kFloat64:
      return npy_api::NPY_DOUBLE_;
    case DType::kFloat16:
      return kHalf;
    default:
      return -1;
  }
}

std::string type_text(PyObject* array) {
  return py::str(py::reinterpret_borrow<py::object>(array_proxy(array)->descr)).cast<std::string>();
}

// Whatever is not an ndarray but offers to become one. New reference; null with Python's error or `fault` set.
PyObject* become_array(PyObject* object, std::string& fault) {
  const py::handle given(object);
  if (py::hasattr(given, "__array__") || PyObject_CheckBuffer(object) != 0) {
    return npy_api::get().PyArray_FromAny_(object, nullptr, 0, 0, 0, nullptr);
  }
  if (py::hasattr(given, "__dlpack__")) {
    PyObject* const numpy = PyImport_ImportModule("numpy");
    if (numpy == nullptr) return nullptr;
    PyObject* const array = PyObject_CallMethod(numpy, "from_dlpack", "O", object);
    Py_DECREF(numpy);
    return array;
  }
  fault = "is a " + std::string(Py_TYPE(object)->tp_name) +
          ", not an array; pass a NumPy array, or anything with __array__, __dlpack__ or the buffer protocol";
  return nullptr;
}

bool is_text(PyObject* array) noexcept {
  const int number = type_number(array);
  return number == npy_api::NPY_OBJECT_ || number == npy_api::NPY_STRING_ || number == npy_api::NPY_UNICODE_ ||
         number == kStringType;
}

bool fill_shape(PyObject* array, TensorView& view, std::string& fault) {
  const auto* const proxy = array_proxy(array);
  if (static_cast<std::size_t>(proxy->nd) > kMaxRank) {
    fault = "has " + std::to_string(proxy->nd) + " dimensions, at most " + std::to_string(kMaxRank) + " are taken";
    return false;
  }
  view.shape = Shape(std::span<const std::int64_t>(reinterpret_cast<const std::int64_t*>(proxy->dimensions),
                                                   static_cast<std::size_t>(proxy->nd)));
  return true;
}

bool check_type(PyObject* array, DType wanted, TensorView& view, std::string& fault) {
  const auto* const descriptor = py::detail::array_descriptor_proxy(array_proxy(array)->descr);
  if (descriptor->byteorder == '>') {
    fault = "is big-endian (" + type_text(array) + "); convert it: x.astype(x.dtype.newbyteorder('='))";
    return false;
  }
  view.dtype = dtype_of(descriptor->type_num);
  if (view.dtype == wanted) return true;
  if (wanted == DType::kString && is_text(array)) {
    view.dtype = DType::kString;
  } else if (view.dtype == DType::kUndefined) {
    if (wanted == DType::kBFloat16 && type_text(array) == "bfloat16") {
      view.dtype = DType::kBFloat16;
    } else {
      fault = "has dtype " + type_text(array) + ", the model takes " + std::string(dtype_name(wanted)) +
              "; convert it first (nothing is converted silently)";
      return false;
    }
  }
  return true;  // a plain mismatch is admission's to refuse
}

}  // namespace

PyObject* read_descriptor(PyObject* object, DType wanted, TensorView& view, std::string& fault) {
  const npy_api& api = npy_api::get();
  PyObject* array = object;
  if (Py_TYPE(object) == api.PyArray_Type_) {
    Py_INCREF(array);
  } else if (api.PyArray_Check_(object)) {
    if (py::hasattr(py::handle(object), "mask") && py::hasattr(py::handle(object), "fill_value")) {
      fault = "is a masked array; its mask would be lost: pass x.filled(value)";
      return nullptr;
    }
    Py_INCREF(array);
  } else {
    array = become_array(object, fault);
    if (array == nullptr) return nullptr;
  }
  if (check_type(array, wanted, view, fault) && fill_shape(array, view, fault)) return array;
  Py_DECREF(array);
  return nullptr;
}

py::object numpy_type(DType dtype) {
  if (dtype == DType::kString) return py::none();
  if (dtype == DType::kBFloat16) {
    try {
      return py::module_::import("numpy").attr("dtype")(py::module_::import("ml_dtypes").attr("bfloat16"));
    } catch (const py::error_already_set& error) {
      if (!error.matches(PyExc_ImportError)) throw;
      throw Error(ErrorCode::kConfigError,
                  "the model takes or gives bfloat16, which NumPy knows by ml_dtypes only: pip install ml_dtypes");
    }
  }
  return py::reinterpret_steal<py::object>(npy_api::get().PyArray_DescrFromType_(number_of(dtype)));
}

PyObject* new_array(py::handle type, const Shape& shape, void** data) {
  const npy_api& api = npy_api::get();
  static_assert(sizeof(Py_intptr_t) == sizeof(std::int64_t));
  Py_INCREF(type.ptr());  // NewFromDescr takes a reference of its type
  PyObject* const array =
      api.PyArray_NewFromDescr_(api.PyArray_Type_, type.ptr(), static_cast<int>(shape.rank()),
                                reinterpret_cast<const Py_intptr_t*>(shape.data()), nullptr, nullptr, 0, nullptr);
  if (array != nullptr) *data = array_proxy(array)->data;
  return array;
}

PyObject* wrap_output(OutputBuffer& output, py::handle type) {
  if (output.dtype == DType::kString) {
    const auto* const views = static_cast<const std::string_view*>(output.data);
    const std::size_t count = output.bytes / sizeof(std::string_view);
    void* data = nullptr;
    const py::object object_type =
        py::reinterpret_steal<py::object>(npy_api::get().PyArray_DescrFromType_(npy_api::NPY_OBJECT_));
    PyObject* const array = new_array(object_type, output.shape, &data);
    if (array == nullptr) return nullptr;
    auto** const items = static_cast<PyObject**>(data);
    for (std::size_t i = 0; i < count; ++i) {
      // Bytes that are no UTF-8 survive as surrogates: nothing is replaced silently.
      PyObject* const text =
          PyUnicode_DecodeUTF8(views[i].data(), static_cast<Py_ssize_t>(views[i].size()), "surrogateescape");
      if (text == nullptr) {
        Py_DECREF(array);
        return nullptr;
      }
      Py_XSETREF(items[i], text);
    }
    return array;
  }
  if (output.bytes < kWrapFrom) {
    void* data = nullptr;
    PyObject* const array = new_array(type, output.shape, &data);
    if (array != nullptr && output.bytes > 0) std::memcpy(data, output.data, output.bytes);
    return array;
  }
  auto* const owner = new std::shared_ptr<void>(output.owner);
  const py::capsule keeper(owner, [](void* p) { delete static_cast<std::shared_ptr<void>*>(p); });
  std::vector<py::ssize_t> shape(output.shape.dims().begin(), output.shape.dims().end());
  return py::array(py::reinterpret_borrow<py::dtype>(type), shape, output.data, keeper).release().ptr();
}

}  // namespace anya::python
