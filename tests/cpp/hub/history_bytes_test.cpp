// What the gauge says of memory, against what the allocator says: within a factor of 1.3, for every shape.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/entries.hpp"
#include "hub/hub.hpp"
#include "store/memory_store.hpp"

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#include <malloc.h>
#define CARILLON_CAN_MEASURE 1
#endif

namespace carillon {
namespace {

#ifdef CARILLON_CAN_MEASURE

std::int64_t allocated() {
  const auto info = mallinfo2();
  return static_cast<std::int64_t>(info.uordblks + info.hblkhd);
}

struct EventForm final : Form {
  [[nodiscard]] std::string encode(std::string_view channel, const Epoch& /*epoch*/,
                                   const Entry& entry) const override {
    return R"({"push":{"channel":")" + std::string(channel) + R"(","pub":{"data":)" + entry.publication.data +
           "}}}";
  }
};

struct Shape {
  const char* name;
  int channels;
  int entries;
  std::function<Publication()> make;
  bool is_encoded = false;
  bool is_dormant = false;
};

Publication payload(std::size_t bytes) { return publication_of(std::string(bytes, 'x')); }
Publication tagged() {
  Publication publication = payload(10);
  for (int i = 0; i < 5; ++i) publication.tags.emplace_back("tag" + std::to_string(i), "a value of this tag");
  publication.key = "a key that is not short";
  return publication;
}

class HistoryBytes : public testing::TestWithParam<Shape> {};

INSTANTIATE_TEST_SUITE_P(
    All, HistoryBytes,
    testing::Values(Shape{"channels_with_one_small_entry", 20'000, 1, [] { return payload(10); }},
                    Shape{"channels_with_a_few", 4'000, 5, [] { return payload(10); }},
                    Shape{"one_channel_with_many", 1, 20'000, [] { return payload(10); }},
                    Shape{"encoded", 1, 20'000, [] { return payload(10); }, true},
                    Shape{"large", 10, 20, [] { return payload(100'000); }}, Shape{"tags", 1, 10'000, tagged},
                    Shape{"dormant", 20'000, 1, [] { return payload(10); }, false, true}),
    [](const auto& each) { return each.param.name; });

TEST_P(HistoryBytes, AreWhatIsUsed) {
  const Shape& shape = GetParam();
  VirtualClock clock;
  SeededRandom random(1);
  MemoryStore store(clock, random, {});
  ChannelOptions options;
  options.history_size = 1'000'000;
  options.history_bytes = 1U << 30U;
  Hub hub(clock, random, store, ChannelRules({{"*", options}}), {});
  const EventForm form;
  const std::int64_t before = allocated();
  for (int i = 0; i < shape.channels; ++i) {
    const std::string name = "room:" + std::to_string(i);
    for (int j = 0; j < shape.entries; ++j) hub.publish(name, shape.make(), {}, [](const AppendResult&) {});
    if (!shape.is_encoded) continue;
    for (const EntryRef& entry : hub.entries())
      static_cast<void>(entry->form(form, [&] { return form.encode(name, Epoch{}, *entry); }));
  }
  if (shape.is_dormant) {
    clock.advance(400'000);
    for (int i = 0; i < 10; ++i) hub.keep_house();
    EXPECT_EQ(hub.channels_in_use(), 0U);
  }
  const auto used = static_cast<double>(allocated() - before);
  const auto counted = static_cast<double>(hub.history_bytes()) + static_cast<double>(store.dormant_bytes());
  EXPECT_LT(used / counted, 1.3) << used << " bytes used, " << counted << " counted";
  EXPECT_GT(used / counted, 1 / 1.3) << used << " bytes used, " << counted << " counted";
}

#endif

}  // namespace
}  // namespace carillon
