#pragma once

#include <pybind11/pybind11.h>

namespace carillon {

/// Adds the load generator to the module: LoadSettings, LoadBoard, LoadHistogram, LoadReport,
/// run_load_worker.
void bind_load(pybind11::module_& m);

}  // namespace carillon
