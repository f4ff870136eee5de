#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>

#include "store/entry.hpp"
#include "store/position.hpp"

namespace carillon {

/// The façade's classes of items, which it hands over when it is imported: frozen dataclasses with slots.
/// Their objects are made here without their constructors, which cost more than everything else of a
/// delivery.
void use_item_classes(const pybind11::type& message, const pybind11::type& position);

/// Makes them, once the classes have been handed over. Lives for one call from Python: items in a row mostly
/// share channel and epoch, whose texts are then made once.
class ItemMaker {
 public:
  [[nodiscard]] pybind11::object position(const Position& position);
  [[nodiscard]] pybind11::object message(const Entry& entry,
                                         const std::shared_ptr<const std::string>& channel,
                                         const Epoch& epoch);

 private:
  pybind11::object text_of(const Epoch& epoch);
  pybind11::object name_of(const std::shared_ptr<const std::string>& channel);

  Epoch epoch_;
  pybind11::object epoch_text_;
  std::shared_ptr<const std::string> channel_;
  pybind11::object channel_name_;
};

}  // namespace carillon
