#pragma once

#include <cstddef>
#include <type_traits>
#include <vector>

namespace carillon {

/// Pointers in no order, added and removed in constant time; `kPlace` is the member in which an element keeps
/// its index. A walk visits, in pieces of any size, all elements that were there when it began, while others
/// are added and removed: each one once, unless it is removed before its visit.
template <typename Element, auto kPlace>
class WalkedSet {
 public:
  void add(Element& element) {
    place(element, elements_.size());
    elements_.push_back(&element);
  }
  void remove(Element& element) {
    std::size_t hole = element.*kPlace;
    if (hole < left_) {  // the last unvisited element moves here, which leaves the hole in its slot
      --left_;
      move(left_, hole);
      hole = left_;
    }
    if (hole + 1 < elements_.size()) move(elements_.size() - 1, hole);  // else the last one has moved already
    elements_.pop_back();
  }

  void begin_walk() { left_ = elements_.size(); }
  /// The next element of the walk, or null at its end.
  Element* next() { return left_ == 0 ? nullptr : elements_[--left_]; }

  [[nodiscard]] std::size_t size() const { return elements_.size(); }
  [[nodiscard]] bool empty() const { return elements_.empty(); }
  [[nodiscard]] Element& operator[](std::size_t index) const { return *elements_[index]; }
  [[nodiscard]] auto begin() const { return elements_.begin(); }
  [[nodiscard]] auto end() const { return elements_.end(); }

 private:
  static void place(Element& element, std::size_t index) {
    element.*kPlace = static_cast<std::remove_reference_t<decltype(element.*kPlace)>>(index);
  }
  void move(std::size_t from, std::size_t to) {
    elements_[to] = elements_[from];
    place(*elements_[to], to);
  }

  std::vector<Element*> elements_;  // [0, left_) have not been visited yet
  std::size_t left_ = 0;
};

}  // namespace carillon
