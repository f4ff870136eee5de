#pragma once

#include <pybind11/pybind11.h>

#include "bindings/python_server.hpp"

namespace carillon {

/// Adds to Server what it offers for members, inboxes and strategies.
void bind_fan_out(pybind11::class_<PyServer>& server);

}  // namespace carillon
