#include "hub/walked_set.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <map>

#include "doubles/seeded_random.hpp"

namespace carillon {
namespace {

struct Element {
  int number = 0;
  std::size_t place = 0;
};
using Elements = WalkedSet<Element, &Element::place>;

TEST(WalkedSet, AWalkVisitsEachOnceWhileOthersComeAndGo) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    std::deque<Element> elements;
    Elements set;
    std::map<Element*, int> visits;  // of those that are in it since the walk began, or were
    const auto add = [&] { set.add(elements.emplace_back()); };
    for (std::uint64_t i = random.below(30); i > 0; --i) add();
    for (Element& each : elements) visits[&each] = 0;
    set.begin_walk();
    for (bool is_over = false; !is_over;) {
      if (random.chance(30)) add();
      if (random.chance(40) && !set.empty()) {
        Element& leaver = set[random.below(set.size())];
        set.remove(leaver);
        if (const auto known = visits.find(&leaver); known != visits.end()) {
          EXPECT_LE(known->second, 1);
          visits.erase(known);
        }
      }
      Element* const next = set.next();
      is_over = next == nullptr;
      if (!is_over) ++visits.at(next);  // throws at one that came later, or has gone
    }
    for (const auto& [element, count] : visits) EXPECT_EQ(count, 1);
    for (std::size_t i = 0; i < set.size(); ++i) EXPECT_EQ(set[i].place, i);
  }
}

}  // namespace
}  // namespace carillon
