#pragma once

#include <pybind11/pybind11.h>

namespace carillon {

/// Adds what `carillon.lab` measures without sockets: run_sinks. After bind_load, whose histograms it gives.
void bind_lab(pybind11::module_& m);

}  // namespace carillon
