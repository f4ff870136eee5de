#include "bindings/python_items.hpp"

#include <array>
#include <cstddef>
#include <stdexcept>
#include <string>

namespace py = pybind11;

namespace carillon {

namespace {

/// Makes objects of one class with slots. Belongs to the interpreter's whole life: nothing of it is given
/// back.
template <std::size_t N>
class SlotClass {
 public:
  SlotClass(const py::type& type, const std::array<const char*, N>& fields)
      : type_(reinterpret_cast<PyTypeObject*>(type.inc_ref().ptr())) {
    for (std::size_t i = 0; i < N; ++i) {
      setters_[i] = PyObject_GetAttrString(reinterpret_cast<PyObject*>(type_), fields[i]);
      if (setters_[i] == nullptr || Py_TYPE(setters_[i])->tp_descr_set == nullptr) {
        throw py::type_error(std::string(fields[i]) + " is no slot of the class");
      }
    }
  }

  [[nodiscard]] py::object make(const std::array<py::object, N>& values) const {
    auto made = py::reinterpret_steal<py::object>(type_->tp_alloc(type_, 0));
    if (!made) throw py::error_already_set();
    for (std::size_t i = 0; i < N; ++i) {
      if (Py_TYPE(setters_[i])->tp_descr_set(setters_[i], made.ptr(), values[i].ptr()) != 0) {
        throw py::error_already_set();
      }
    }
    // Texts and numbers make no cycles: the collector need not look at them, message by message.
    if (PyObject_GC_IsTracked(made.ptr()) != 0) PyObject_GC_UnTrack(made.ptr());
    return made;
  }

 private:
  PyTypeObject* type_;
  std::array<PyObject*, N> setters_{};
};

const SlotClass<2>* position_class = nullptr;
const SlotClass<8>* message_class = nullptr;

template <typename Class>
const Class& handed_over(const Class* given) {
  if (given == nullptr) throw std::logic_error("the classes of items have not been handed over");
  return *given;
}

}  // namespace

void use_item_classes(const py::type& message, const py::type& position) {
  message_class =
      new SlotClass<8>(message, {"channel", "offset", "epoch", "data", "is_json", "tags", "key", "time_ms"});
  position_class = new SlotClass<2>(position, {"offset", "epoch"});
}

py::object ItemMaker::position(const Position& position) {
  return handed_over(position_class).make({py::int_(position.offset), text_of(position.epoch)});
}

py::object ItemMaker::message(const Entry& entry, const std::shared_ptr<const std::string>& channel,
                              const Epoch& epoch) {
  const Publication& publication = entry.publication;
  py::dict tags;
  for (const auto& [key, value] : publication.tags) tags[py::str(key)] = value;
  return handed_over(message_class)
      .make({name_of(channel), py::int_(entry.offset), text_of(epoch), py::bytes(publication.data),
             py::bool_(publication.content == ContentType::json), std::move(tags), py::str(publication.key),
             py::int_(entry.wall_ms)});
}

py::object ItemMaker::text_of(const Epoch& epoch) {
  if (!epoch_text_ || epoch != epoch_) {
    epoch_text_ = py::str(epoch.text());
    epoch_ = epoch;
  }
  return epoch_text_;
}

py::object ItemMaker::name_of(const std::shared_ptr<const std::string>& channel) {
  if (channel != channel_) {
    channel_name_ = py::str(*channel);
    channel_ = channel;
  }
  return channel_name_;
}

}  // namespace carillon
