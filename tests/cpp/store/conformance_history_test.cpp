// What every store promises of the history that it keeps: pages, bounds, removal.
#include "store/conformance.hpp"
#include "store/store_kinds.hpp"

namespace carillon {
namespace {

/// The channel "a" with ten entries of about equal cost.
struct StoreHistory : Conformance {
  void fill(int entries = 10, const Retention& retention = {}) {
    for (int i = 1; i <= entries; ++i) append("a", std::to_string(i), {.retention = retention});
  }
  Page read(const ReadRange& range) { return calls->read("a", range); }
  std::size_t cost = entry_of("1")->cost_bytes();
};
INSTANTIATE_TEST_SUITE_P(All, StoreHistory, testing::ValuesIn(store_kinds()),
                         [](const auto& info) { return info.param.name; });

TEST_P(StoreHistory, AStoreSaysWhetherItKeepsEntries) {
  EXPECT_EQ(keeps(), GetParam().is_keeping);
  const Position top = append("a").position;
  const Page page = read({1, 1});
  EXPECT_EQ(page.error, keeps() ? StoreError::none : StoreError::not_held);
  EXPECT_EQ(page.entries.size(), keeps() ? 1U : 0U);
  EXPECT_EQ(page.top, keeps() ? top : Position{});
}

struct KeptHistory : StoreHistory {};
INSTANTIATE_TEST_SUITE_P(Keeping, KeptHistory, testing::ValuesIn(store_kinds_that(&StoreKind::is_keeping)),
                         [](const auto& info) { return info.param.name; });

TEST_P(KeptHistory, ARangeIsReadWithAllThatThePublisherGave) {
  Publication publication;
  publication.data = std::string("bytes\0and more", 14);
  publication.content = ContentType::binary;
  publication.has_delta = true;
  publication.info_json = R"({"user":"ann"})";
  publication.tags = {{"t", "1"}, {"u", ""}};
  publication.key = "k";
  calls->append("a", std::make_shared<Entry>(EntryKind::publication, Publication(publication), 77));
  calls->append("a", std::make_shared<Entry>(EntryKind::publication, Publication{}, -1));
  const Page page = read({1, 2});
  ASSERT_EQ(page.entries.size(), 2U);
  const Entry& first = *page.entries[0];
  EXPECT_EQ(first.kind, EntryKind::publication);
  EXPECT_EQ(first.wall_ms, 77);
  EXPECT_EQ(first.publication.data, publication.data);
  EXPECT_EQ(first.publication.content, publication.content);
  EXPECT_EQ(first.publication.has_delta, true);
  EXPECT_EQ(first.publication.info_json, publication.info_json);
  EXPECT_EQ(first.publication.tags, publication.tags);
  EXPECT_EQ(first.publication.key, publication.key);
  EXPECT_EQ(page.entries[1]->wall_ms, -1);
  EXPECT_EQ(page.entries[1]->publication.content, ContentType::json);
}

TEST_P(KeptHistory, RangesAreReadForwardAndBackwardAndEndAtTheTop) {
  fill();
  Page page = read({4, 6});
  EXPECT_EQ(page.error, StoreError::none);
  EXPECT_EQ(offsets_of(page), (Offsets{4, 5, 6}));
  EXPECT_EQ(data_of(page), (Lines{"4", "5", "6"}));
  EXPECT_FALSE(page.has_more);
  EXPECT_EQ(page.top, calls->top("a").top);
  page = read({.first = 9, .last = 99});
  EXPECT_EQ(offsets_of(page), (Offsets{9, 10}));
  EXPECT_FALSE(page.has_more);
  page = read({.first = 11, .last = 99});
  EXPECT_EQ(page.error, StoreError::none);
  EXPECT_TRUE(page.entries.empty());
  page = read({.first = 0, .last = 99, .is_backward = true});
  EXPECT_EQ(page.entries.size(), 10U);
  EXPECT_EQ(page.error, StoreError::none);
  EXPECT_EQ(page.entries.front()->offset, 1U);
  page = read({5, 4});
  EXPECT_EQ(page.error, StoreError::none);
  EXPECT_TRUE(page.entries.empty());
}

TEST_P(KeptHistory, APageHasAtMostSoManyEntriesTheOldestOrTheNewest) {
  fill();
  Page page = read({.first = 2, .last = 9, .entries_max = 3});
  EXPECT_EQ(offsets_of(page), (Offsets{2, 3, 4}));
  EXPECT_TRUE(page.has_more);
  page = read({.first = 2, .last = 9, .entries_max = 3, .is_backward = true});
  EXPECT_EQ(offsets_of(page), (Offsets{7, 8, 9})) << "ascending all the same";
  EXPECT_TRUE(page.has_more);
  page = read({.first = 7, .last = 9, .entries_max = 3});
  EXPECT_FALSE(page.has_more) << "exactly as many";
  page = read({.first = 7, .last = 9, .entries_max = 3, .is_backward = true});
  EXPECT_FALSE(page.has_more);
}

TEST_P(KeptHistory, APageHasAtMostSoManyBytesButOneEntryInAnyCase) {
  fill();
  Page page = read({.first = 1, .last = 9, .bytes_max = 2 * cost + 5});
  EXPECT_EQ(offsets_of(page), (Offsets{1, 2}));
  EXPECT_TRUE(page.has_more);
  page = read({.first = 1, .last = 9, .bytes_max = 2 * cost + 5, .is_backward = true});
  EXPECT_EQ(offsets_of(page), (Offsets{8, 9}));
  EXPECT_TRUE(page.has_more);
  page = read({.first = 1, .last = 9, .bytes_max = 0});
  EXPECT_EQ(offsets_of(page), (Offsets{1}));
  EXPECT_TRUE(page.has_more);
}

TEST_P(KeptHistory, PagesMeetAndMakeTheWhole) {
  fill(100);
  for (const bool is_backward : {false, true}) {
    Offsets all;
    ReadRange range{.first = 1, .last = 100, .entries_max = 7, .is_backward = is_backward};
    for (int pages = 0; pages < 20; ++pages) {
      const Page page = read(range);
      ASSERT_FALSE(page.entries.empty());
      const Offsets offsets = offsets_of(page);
      all.insert(is_backward ? all.begin() : all.end(), offsets.begin(), offsets.end());
      if (!page.has_more) break;
      (is_backward ? range.last : range.first) = is_backward ? offsets.front() - 1 : offsets.back() + 1;
    }
    ASSERT_EQ(all.size(), 100U);
    for (Offset offset = 1; offset <= 100; ++offset) EXPECT_EQ(all[offset - 1], offset);
  }
}

TEST_P(KeptHistory, EphemeralEntriesAreNotInIt) {
  append("a", "1");
  append("a", "e", {.is_ephemeral = true});
  append("a", "2");
  EXPECT_EQ(data_of(read({1, 9})), (Lines{"1", "2"}));
}

TEST_P(KeptHistory, AChannelThatIsUnknownHoldsNothing) {
  const Page page = calls->read("unknown", {1, 5});
  EXPECT_EQ(page.error, StoreError::not_held);
  EXPECT_TRUE(page.entries.empty());
}

TEST_P(KeptHistory, TheNumberOfEntriesIsBounded) {
  fill(10, {.entries = 4});
  Page page = read({1, 10});
  EXPECT_EQ(page.error, StoreError::not_held) << "the start is gone";
  EXPECT_EQ(offsets_of(page), (Offsets{7, 8, 9, 10}));
  page = read({7, 10});
  EXPECT_EQ(page.error, StoreError::none);
  EXPECT_EQ(page.entries.size(), 4U);
  page = read({2, 5});
  EXPECT_EQ(page.error, StoreError::not_held);
  EXPECT_TRUE(page.entries.empty());
  page = read({.first = 1, .last = 10, .entries_max = 2, .is_backward = true});
  EXPECT_EQ(page.error, StoreError::none) << "the page does not come to what is gone";
  EXPECT_EQ(offsets_of(page), (Offsets{9, 10}));
  EXPECT_TRUE(page.has_more);
  page = read({.first = 1, .last = 10, .entries_max = 9, .is_backward = true});
  EXPECT_EQ(page.error, StoreError::not_held);
  EXPECT_EQ(offsets_of(page), (Offsets{7, 8, 9, 10}));
  EXPECT_EQ(calls->top("a").top.offset, 10U);
}

TEST_P(KeptHistory, ManyAppendsAtOnceKeepTheBound) {
  std::atomic<int> answers{0};
  for (int i = 1; i <= 1'000; ++i)
    store->append("a", entry_of(std::to_string(i)), {.retention = {.entries = 3}},
                  [&](const AppendResult&) { ++answers; });
  fill(1, {.entries = 3});
  EXPECT_EQ(answers, 1'000);
  EXPECT_EQ(offsets_of(read({1, 2'000})), (Offsets{999, 1'000, 1'001}));
}

TEST_P(KeptHistory, TheLastAppendersBoundsCount) {
  fill(10);
  EXPECT_EQ(read({1, 10}).entries.size(), 10U);
  append("a", "11", {.retention = {.entries = 2}});
  EXPECT_EQ(offsets_of(read({1, 11})), (Offsets{10, 11}));
  append("a", "12", {.retention = {.entries = 100}});
  EXPECT_EQ(offsets_of(read({1, 12})), (Offsets{10, 11, 12})) << "what is gone stays gone";
}

TEST_P(KeptHistory, TheBytesAreBounded) {
  fill(10, {.bytes = 3 * cost + 5});
  Page page = read({1, 10});
  EXPECT_EQ(page.error, StoreError::not_held);
  EXPECT_EQ(offsets_of(page), (Offsets{8, 9, 10}));
  append("a", std::string(2 * cost, 'x'), {.retention = {.bytes = 4 * cost}});
  EXPECT_EQ(offsets_of(read({1, 20})), (Offsets{10, 11}));
  append("a", std::string(9 * cost, 'x'), {.retention = {.bytes = 4 * cost}});
  EXPECT_EQ(offsets_of(read({1, 20})), Offsets{}) << "too large for the bound";
  append("a", "small", {.retention = {.bytes = 4 * cost}});
  EXPECT_EQ(offsets_of(read({1, 20})), Offsets{13});
}

TEST_P(KeptHistory, NumberAndBytesAreBoundedTogether) {
  for (int i = 1; i <= 50; ++i)
    append("a", std::string(static_cast<std::size_t>(i % 5) * 100, 'x'),
           {.retention = {.entries = 6, .bytes = 4 * (cost + 200)}});
  // By the rules themselves: the newest six at most, as long as they fit.
  Offsets expected;
  std::size_t bytes = 0;
  for (Offset offset = 50; offset > 44; --offset) {
    bytes += entry_of(std::string((offset % 5) * 100, 'x'))->cost_bytes();
    if (bytes > 4 * (cost + 200)) break;
    expected.insert(expected.begin(), offset);
  }
  EXPECT_EQ(offsets_of(read({1, 50})), expected);
}

TEST_P(KeptHistory, TheAgeIsBoundedToTheMillisecond) {
  append("a", "1", {.retention = {.ttl_ms = 100}});
  clock.advance(50);
  append("a", "2", {.retention = {.ttl_ms = 100}});
  clock.advance(49);
  EXPECT_EQ(data_of(read({1, 2})), (Lines{"1", "2"}));
  clock.advance(1);
  for (const bool is_backward : {false, true}) {
    const Page page = read({.first = 1, .last = 2, .is_backward = is_backward});
    EXPECT_EQ(page.error, StoreError::not_held);
    EXPECT_EQ(data_of(page), (Lines{"2"}));
  }
  clock.advance(50);
  const Page page = read({1, 2});
  EXPECT_EQ(page.error, StoreError::not_held);
  EXPECT_TRUE(page.entries.empty());
  EXPECT_EQ(calls->top("a").top.offset, 2U);
}

TEST_P(KeptHistory, HistoryIsRemovedAndOffsetAndEpochStay) {
  fill(5);
  const Position top = calls->top("a").top;
  EXPECT_EQ(calls->remove_history("a"), StoreError::none);
  EXPECT_EQ(calls->remove_history("unknown"), StoreError::none);
  Page page = read({1, 5});
  EXPECT_EQ(page.error, StoreError::not_held);
  EXPECT_TRUE(page.entries.empty());
  EXPECT_EQ(page.top, top);
  append("a", "6");
  EXPECT_EQ(data_of(read({6, 6})), (Lines{"6"}));
  EXPECT_EQ(read({5, 6}).error, StoreError::not_held);
}

TEST_P(KeptHistory, HouseKeepingChangesNothingThatIsHeld) {
  fill(100, {.entries = 50, .ttl_ms = 1'000});
  for (int i = 0; i < 5; ++i) {
    store->keep_house();
    append("b");
  }
  EXPECT_EQ(read({51, 100}).entries.size(), 50U);
  clock.advance(1'000);
  append("a", "new", {.retention = {.entries = 50, .ttl_ms = 1'000}});
  for (int i = 0; i < 5; ++i) {
    store->keep_house();
    append("b");
  }
  EXPECT_EQ(offsets_of(read({1, 200})), Offsets{101});
}

TEST_P(KeptHistory, ItIsReadFromInsideAnAnnouncement) {
  struct Reading : StoreJournal {
    Store* store = nullptr;
    void on_announced(const Announcement& announcement) override {
      store->read(announcement.channel, {1, announcement.entry->offset},
                  [this](const Page& page) { note("read " + std::to_string(page.entries.size())); });
    }
  };
  close();
  Reading reading;
  store = place->open(clock, random, {});
  reading.store = store.get();
  store->set_listener(&reading);
  store->open();
  calls = std::make_unique<StoreCalls>(*store);
  follow("a");
  append("a");
  ASSERT_TRUE(reading.wait_for(1));
  EXPECT_EQ(reading.lines(), Lines{"read 1"});
  close();
}

}  // namespace
}  // namespace carillon
