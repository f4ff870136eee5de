// What a dormant channel costs, measured: every allocation of this executable is counted.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>

#include "doubles/seeded_random.hpp"
#include "doubles/virtual_clock.hpp"
#include "hub/hub.hpp"
#include "store/memory_store.hpp"

namespace {

std::atomic<std::int64_t> g_bytes_in_use{0};
constexpr std::int64_t kChunkHeaderBytes = 8;

void* counted_or_null(std::size_t bytes) noexcept {
  void* place = std::malloc(bytes);
  if (place != nullptr)
    g_bytes_in_use += static_cast<std::int64_t>(malloc_usable_size(place)) + kChunkHeaderBytes;
  return place;
}

void* counted(std::size_t bytes) {
  void* place = counted_or_null(bytes);
  if (place == nullptr) throw std::bad_alloc();
  return place;
}

void uncounted(void* place) noexcept {
  if (place == nullptr) return;
  g_bytes_in_use -= static_cast<std::int64_t>(malloc_usable_size(place)) + kChunkHeaderBytes;
  std::free(place);
}

}  // namespace

void* operator new(std::size_t bytes) { return counted(bytes); }
void* operator new[](std::size_t bytes) { return counted(bytes); }
// std::stable_sort asks in this way.
void* operator new(std::size_t bytes, const std::nothrow_t& /*tag*/) noexcept {
  return counted_or_null(bytes);
}
void operator delete(void* place) noexcept { uncounted(place); }
void operator delete[](void* place) noexcept { uncounted(place); }
void operator delete(void* place, std::size_t /*bytes*/) noexcept { uncounted(place); }
void operator delete[](void* place, std::size_t /*bytes*/) noexcept { uncounted(place); }

namespace carillon {
namespace {

constexpr std::int64_t kChannels = 50'000;
constexpr std::int64_t kBytesMax = 200;  // beside the name

// Publishes on many channels, lets them all go dormant, and tells what each has left in memory beside its
// name.
double bytes_per_dormant_channel(const std::string& prefix) {
  VirtualClock clock;
  SeededRandom random(1);
  const auto store = std::make_unique<MemoryStore>(clock, random, StoreLimits{});
  const auto hub = std::make_unique<Hub>(clock, random, *store, ChannelRules(), HubLimits{});
  const std::int64_t before = g_bytes_in_use;
  std::int64_t name_bytes = 0;
  for (std::int64_t i = 0; i < kChannels; ++i) {
    const std::string name = prefix + std::to_string(i);
    name_bytes += static_cast<std::int64_t>(name.size());
    Publication publication;
    publication.data = "x";
    hub->publish(name, std::move(publication), {}, [](const AppendResult&) {});
  }
  clock.advance(300'000);
  for (int i = 0; i < 10; ++i) hub->keep_house();
  EXPECT_EQ(hub->channels_in_use(), 0U);
  EXPECT_EQ(store->channels_known(), static_cast<std::size_t>(kChannels));
  return static_cast<double>(g_bytes_in_use - before - name_bytes) / kChannels;
}

TEST(DormantChannel, CostsAtMostTwoHundredBytesBesideItsName) {
  const double short_name = bytes_per_dormant_channel("c");
  const double long_name = bytes_per_dormant_channel("organisation:4711:project:0815:room:");
  testing::Test::RecordProperty("bytes_short_name", std::to_string(short_name));
  testing::Test::RecordProperty("bytes_long_name", std::to_string(long_name));
  EXPECT_LE(short_name, kBytesMax);
  EXPECT_LE(long_name, kBytesMax);
  EXPECT_GT(short_name, 0) << "nothing was counted";
}

}  // namespace
}  // namespace carillon
