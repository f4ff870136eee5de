#pragma once

#include <pybind11/pybind11.h>
#include <unistd.h>

#include <chrono>

namespace carillon {

/// Lets other Python threads run while this one is in the core. Unlike pybind11's it survives the end of the
/// interpreter: up to Python 3.13 a thread that takes the GIL then is ended by unwinding its stack, which a
/// destructor that must not throw turns into std::terminate. Such a thread waits here for the process to end,
/// as 3.14 does.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;
  ~WithoutGil() noexcept(false) {  // NOLINT(bugprone-unsafe-to-allow-exceptions): the unwinding must pass
    while (is_finalizing() && !was_finalizing_) ::pause();
    PyEval_RestoreThread(state_);
  }

 private:
  static bool is_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
  }

  const bool was_finalizing_ = is_finalizing();  // then this is the thread that ends the interpreter
  PyThreadState* state_;
};

/// Waits without the GIL until `wait_for` (a duration) returns true. Signals are handled meanwhile; what
/// their handlers raise, such as KeyboardInterrupt, ends the wait.
template <typename WaitFor>
void wait_without_gil(WaitFor wait_for) {
  constexpr auto kSignalsAreSeenWithin = std::chrono::milliseconds(100);
  while (true) {
    {
      const WithoutGil release;
      if (wait_for(kSignalsAreSeenWithin)) return;
    }
    if (PyErr_CheckSignals() != 0) throw pybind11::error_already_set();
  }
}

}  // namespace carillon
