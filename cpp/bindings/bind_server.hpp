#pragma once

#include <pybind11/pybind11.h>

namespace carillon {

/// Adds Publication, Bridge and Server to the module.
void bind_server(pybind11::module_& m);

}  // namespace carillon
