#include "hub/batch.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace carillon {
namespace {

/// The kind of each entry and its data, with a mark of the form.
class MarkedForm final : public Form {
 public:
  explicit MarkedForm(char mark) : mark_(mark) {}
  [[nodiscard]] std::string encode(std::string_view, const Epoch&, const Entry& entry) const override {
    const char kind = entry.kind == EntryKind::publication ? 'p' : 'n';
    return std::string{mark_, kind} + entry.publication.data;
  }

 private:
  const char mark_;
};

EntryRef entry_of(EntryKind kind, std::string data) {
  return std::make_shared<Entry>(kind, Publication{.data = std::move(data)}, 0);
}

TEST(BatchTest, EachLayoutIsLaidOutOnceAndStays) {
  const MarkedForm a('a');
  const MarkedForm b('b');
  const std::vector<Layout> layouts{{a, true}, {a, false}, {b, true}, {b, false}};
  Batch batch("news", Epoch{}, 0, 0);
  batch.add(entry_of(EntryKind::publication, "1"));
  batch.add(entry_of(EntryKind::join, "2"));
  batch.add(entry_of(EntryKind::publication, "3"));
  std::vector<const EncodedBatch*> encoded;
  for (const Layout& layout : layouts) {
    EXPECT_EQ(batch.encoded(layout), nullptr);
    encoded.push_back(&batch.lay_out(layout));
  }
  EXPECT_EQ(encoded[0]->bytes, "ap1an2ap3");
  EXPECT_EQ(encoded[1]->bytes, "ap1ap3");
  EXPECT_EQ(encoded[1]->frames, 2U);
  EXPECT_EQ(encoded[1]->filtered, 1U);
  EXPECT_EQ(encoded[2]->bytes, "bp1bn2bp3");
  EXPECT_EQ(encoded[3]->bytes, "bp1bp3");
  for (std::size_t i = 0; i < layouts.size(); ++i) {
    EXPECT_EQ(batch.encoded(layouts[i]), encoded[i]);
    EXPECT_EQ(&batch.lay_out(layouts[i]), encoded[i]);
  }
}

TEST(BatchTest, ANoticeAloneIsFilteredWhereNobodyWantsIt) {
  const MarkedForm form('a');
  const Layout layout{form, false};
  Batch batch("news", Epoch{}, 0, 0);
  batch.add(entry_of(EntryKind::leave, "1"));
  EXPECT_EQ(batch.lay_out(layout).bytes, "");
  EXPECT_EQ(batch.lay_out(layout).filtered, 1U);
}

TEST(BatchTest, OnlyThePublicationJustBeforeIsTheBaseOfADelta) {
  const auto stored = [](EntryKind kind, Offset offset) {
    auto entry = std::make_shared<Entry>(kind, Publication{.data = "x"}, 0);
    entry->offset = offset;
    return entry;
  };
  Batch batch("news", Epoch{}, 0, 0);
  batch.add(stored(EntryKind::publication, 1));
  batch.add(stored(EntryKind::publication, 2));
  batch.add(stored(EntryKind::join, 0));
  batch.add(stored(EntryKind::publication, 3));
  batch.add(stored(EntryKind::publication, 5));  // 4 is lost
  batch.add(stored(EntryKind::publication, 0));  // not stored
  batch.add(stored(EntryKind::publication, 6));
  const auto base_of = [&](std::uint32_t index) {
    const Entry* const base = batch.previous_of(index, true);
    return base != nullptr ? base->offset : 0;
  };
  EXPECT_EQ(base_of(1), 1U);
  EXPECT_EQ(base_of(2), 0U);
  EXPECT_EQ(base_of(3), 2U) << "a join in between changes nothing";
  EXPECT_EQ(base_of(4), 0U);
  EXPECT_EQ(base_of(5), 0U);
  EXPECT_EQ(base_of(6), 0U) << "the client knows another one as the newest";
}

TEST(EntryTest, AFormThatComesWhileAnotherIsMadeStays) {
  const struct SomeKey : FormKey {
  } first, second;
  auto gauge = std::make_shared<BytesGauge>(0);
  auto entry = std::make_shared<Entry>(EntryKind::publication, Publication{.data = "x"}, 0);
  entry->count_into(gauge);
  const std::string* early = nullptr;
  EXPECT_EQ(entry->form(first,
                        [&] {
                          early = &entry->form(second, [] { return "early"; });
                          return "late";
                        }),
            "late");
  EXPECT_EQ(&entry->form(second, [] { return "made again"; }), early);
  entry.reset();
  EXPECT_EQ(gauge->load(), 0);
}

TEST(EntryTest, AnExclusiveFormIsMadeOnceAndNoOtherEntryWaitsForIt) {
  const struct ExclusiveKey : FormKey {
    ExclusiveKey() : FormKey(Making::exclusive) {}
  } key;
  const auto entry_with = [](std::string data) {
    return std::make_shared<Entry>(EntryKind::publication, Publication{.data = std::move(data)}, 0);
  };
  const auto slow = entry_with("slow");
  std::vector<std::shared_ptr<Entry>> others;
  for (int i = 0; i < 200; ++i) others.push_back(entry_with("other"));
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  slow->form(key, [&] {  // meanwhile others want it, and forms of other entries are made
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] {
        slow->form(key, [&] {
          ++made;
          return std::string("again");
        });
      });
    }
    std::thread([&] {
      for (const auto& other : others) other->form(key, [] { return std::string("quick"); });
    }).join();
    ++made;
    return std::string("once");
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(made, 1);
  EXPECT_EQ(slow->form(key, [] { return std::string(); }), "once");
}

TEST(EntryTest, ThreadsThatEncodeAtOnceShareWhatIsKept) {
  constexpr int kThreads = 4;
  constexpr int kForms = 3;
  for (int round = 0; round < 200; ++round) {
    const struct SomeKey : FormKey {
    } keys[kForms];
    auto gauge = std::make_shared<BytesGauge>(0);
    auto entry = std::make_shared<Entry>(EntryKind::publication, Publication{.data = "x"}, 0);
    entry->count_into(gauge);
    const std::int64_t before = gauge->load();
    std::vector<std::vector<const std::string*>> seen(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < kForms; ++i) {
          const int which = (i + t) % kForms;
          seen[t].resize(kForms);
          seen[t][which] =
              &entry->form(keys[which], [&] { return std::string(100, static_cast<char>('0' + which)); });
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (int t = 1; t < kThreads; ++t) EXPECT_EQ(seen[t], seen[0]);
    for (int i = 0; i < kForms; ++i) EXPECT_EQ(seen[0][i]->front(), '0' + i);
    const std::int64_t forms = gauge->load() - before;
    EXPECT_GE(forms, kForms * 100);
    EXPECT_LT(forms, (kForms + 1) * 200) << "one that lost the race was counted";
    entry.reset();
    EXPECT_EQ(gauge->load(), 0);
  }
}

}  // namespace
}  // namespace carillon
