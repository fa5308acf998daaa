// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "anya/request.h"
#include "anya/request_stack.h"
#include "bindings.h"

namespace anya::python {

struct PyModel;
class RequestPool;

// A request with the Python objects whose memory it reads and writes. Its references are taken and dropped with the GIL
// held only; a worker that is the last to leave hands the request to the pool, which drops them at its next turn.
class PyRequest final : public Request {
 public:
  explicit PyRequest(RequestPool& pool);

  void hold(PyObject* owned) { held_.push_back(owned); }  // takes the reference
  void drop_held() noexcept;                              // GIL held
  void drop_arrays() noexcept;  // GIL held; what the run read and wrote. REQUIRES: the run is over, the answer taken

  PyModel* model = nullptr;        // kept alive by held_
  PyObject* waiter = nullptr;      // what the completion is for, an AsyncCall or a Future; owned by held_
  std::vector<py::object> given;   // per input: the array it came as, until its data is in place
  std::vector<PyObject*> arrays;   // per output: the array its data lies in (owned by held_), or null
  std::vector<std::byte> copies;   // inputs, copied when the caller does not wait
  std::vector<std::string> texts;  // string inputs
  std::vector<std::string_view> views;
  std::uint64_t text_bytes = 0;        // of `texts`
  std::vector<std::uint64_t> changed;  // per input: values that are not what was given; empty: none

 private:
  std::vector<PyObject*> held_;
};

// Requests are reused: their vectors keep their memory. GIL held, but for reclaim: any thread.
// Outlives all its requests: whoever holds one keeps the engine's Python object alive.
class RequestPool final : public RequestOwner {
 public:
  RequestPool();
  ~RequestPool() override;

  PyRequest* get();
  // The caller's reference goes; if it was the last one, the request is fresh again at once.
  void put(PyRequest* request) noexcept;
  void reclaim(Request* request) noexcept override { returned_.push(request); }
  void take_returned() noexcept;  // drops what reclaim was given; get does it, too

 private:
  void recycle(PyRequest* request) noexcept;

  std::vector<std::unique_ptr<PyRequest>> free_;  // protected by the GIL
  std::uint64_t last_id_ = 0;                     // protected by the GIL; unique within the engine
  RequestStack<&Request::next_completed> returned_;
};

}  // namespace anya::python
