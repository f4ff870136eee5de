#pragma once

#include <pybind11/pybind11.h>

#include "server/reader.hpp"
#include "store/position.hpp"

namespace carillon {

/// The façade's classes of items, which it hands over when it is imported: frozen dataclasses with slots.
/// Their objects are made here without their constructors, which cost more than everything else of a
/// delivery.
void use_item_classes(const pybind11::type& message, const pybind11::type& position);

/// The classes have been handed over; with the GIL, as everything here.
pybind11::object make_position(const Position& position);
pybind11::object make_message(const ReaderItem& publication);

}  // namespace carillon
