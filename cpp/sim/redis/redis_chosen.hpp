#pragma once

#include <cstdint>
#include <iterator>
#include <utility>
#include <vector>

#include "env/random.hpp"

namespace carillon::sim {

/// `count` elements of a container by chance, each at most once: their iterators. All of them, in their
/// order, where there are no more.
template <typename Container>
[[nodiscard]] std::vector<typename Container::const_iterator> chosen_of(const Container& container,
                                                                        std::uint64_t count,
                                                                        RandomSource& random) {
  std::vector<typename Container::const_iterator> all;
  all.reserve(container.size());
  for (auto each = container.begin(); each != container.end(); ++each) all.push_back(each);
  if (count >= all.size()) return all;
  for (std::uint64_t i = 0; i < count; ++i) std::swap(all[i], all[i + random.below(all.size() - i)]);
  all.resize(count);
  return all;
}

}  // namespace carillon::sim
