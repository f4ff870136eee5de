#include "gateway/send_flush.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <deque>
#include <memory>
#include <random>
#include <thread>

#include "doubles/virtual_clock.hpp"
#include "env/limits.hpp"
#include "gateway/uring_flush.hpp"
#include "hub/hub.hpp"
#include "store/memory_store.hpp"

namespace carillon {
namespace {

/// Writes an entry as "<offset>:<data>;", and nothing for data that starts with '-'.
class PlainForm final : public Form {
 public:
  [[nodiscard]] std::string encode(std::string_view, const Epoch&, const Entry& entry) const override {
    if (entry.publication.data.starts_with('-')) return {};
    return std::to_string(entry.offset) + ":" + entry.publication.data + ";";
  }
};

/// A subscriber on a socket pair; its kernel buffer is as small as the system allows.
class Reader final : public Sink {
 public:
  Reader(Hub& hub, Shard& shard, TurnOutput& output) : shard_(shard), output_(output), cursor_(*this) {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    outlet.descriptor = ends[0];
    far_end = ends[1];
    const int bytes = 2'048;
    ::setsockopt(outlet.descriptor, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    hub.subscribe(shard, cursor_, "a", std::nullopt, [](const SubscribeOutcome&) {});
  }
  void subscribe(Hub& hub, const std::string& channel) {
    hub.subscribe(shard_, more_.emplace_back(*this), channel, std::nullopt, [](const SubscribeOutcome&) {});
  }
  ~Reader() override {
    shard_.unsubscribe(cursor_);
    for (Cursor& cursor : more_) shard_.unsubscribe(cursor);
    ::close(outlet.descriptor);
    if (far_end >= 0) ::close(far_end);
  }
  bool stage(Cursor& cursor, const Batch& batch) override {
    if (outlet.is_clogged) return false;
    static const PlainForm form;
    static const Layout layout{form};
    output_.add(outlet, cursor, batch, layout);
    return true;
  }
  void on_gap(Cursor& /*cursor*/, const Gap& /*gap*/) override { ADD_FAILURE() << "a gap"; }
  void on_empty() {
    cursor_.count_delivered(cursor_.under_way());
    cursor_.set_under_way(0);
    shard_.resume(cursor_);
  }
  /// Reads at most `most` bytes.
  std::size_t read(std::size_t most) {
    std::string buffer(most, '\0');
    const ssize_t count = ::recv(far_end, buffer.data(), most, MSG_DONTWAIT);
    if (count <= 0) return 0;
    arrived.append(buffer, 0, static_cast<std::size_t>(count));
    return static_cast<std::size_t>(count);
  }

  Outlet outlet;
  int far_end = -1;
  std::string arrived;

 private:
  Shard& shard_;
  TurnOutput& output_;
  Cursor cursor_;
  std::deque<Cursor> more_;
};

/// Every test runs over both ways to send.
class FlushTest : public ::testing::TestWithParam<const char*> {
 protected:
  explicit FlushTest(TurnLimits limits = {}) : shard_(0, limits, clock_, [] {}) {
    hub_.set_shards({&shard_});
    shard_.bind_to_this_thread();
  }
  void SetUp() override {
    if (GetParam() == std::string_view("send")) {
      flush_ = std::make_unique<SendFlush>();
      return;
    }
    std::string why_not;
    flush_ = UringFlush::make(why_not);
    if (!flush_) GTEST_SKIP() << "io_uring: " << why_not;
  }
  ~FlushTest() override { Shard::unbind_this_thread(); }

  void publish(std::string data) {
    if (!data.starts_with('-')) expected_ += std::to_string(published_ + 1) + ":" + data + ";";
    ++published_;
    hub_.publish("a", {.data = std::move(data)}, {}, [](const AppendResult&) {});
  }
  void turn() {
    shard_.turn();
    flush_->flush(output_, 2'000, report_);
    output_.clear();
  }
  /// Lets the reader read everything, turn by turn.
  void drain(Reader& reader) {
    for (int i = 0; i < 10'000; ++i) {
      turn();
      reader.read(100'000);
      if (reader.outlet.is_clogged && flush_->flush_unsent(reader.outlet, 3'000, report_)) reader.on_empty();
      if (!reader.outlet.is_clogged && !shard_.has_work() && reader.read(1) == 0) return;
    }
    ADD_FAILURE() << "never empty";
  }
  Account account() {
    Account result;
    bool is_told = false;
    hub_.ledger([&](const Ledger& ledger) {
      is_told = true;
      EXPECT_TRUE(ledger.is_balanced());
      for (const LedgerRow& row : ledger.rows) result += row.account;
    });
    for (int turns = 0; !is_told && turns < 100; ++turns) shard_.turn();  // a piece each
    EXPECT_TRUE(is_told);
    return result;
  }

  VirtualClock clock_;
  SystemRandom random_;
  MemoryStore store_{clock_, random_, {}};
  Hub hub_{clock_, random_, store_, ChannelRules{}, HubLimits{}};
  Shard shard_;
  Limits limits_;
  UnsentBudget unsent_{limits_.unsent_bytes_total};
  TurnOutput output_{shard_, unsent_};
  std::unique_ptr<Flush> flush_;
  FlushReport report_;
  std::string expected_;
  int published_ = 0;
};

TEST_P(FlushTest, SendsOwnBytesAndEntriesInTheOrderOfTheirSlices) {
  Reader reader(hub_, shard_, output_);
  output_.add(reader.outlet, "hello ");
  output_.add(reader.outlet, "there ");
  publish("one");
  publish("two");
  turn();
  output_.add(reader.outlet, "and bye");
  flush_->flush(output_, 2'000, report_);
  output_.clear();
  reader.read(1'000);
  EXPECT_EQ(reader.arrived, "hello there 1:one;2:two;and bye");
  EXPECT_TRUE(report_.clogged.empty());
  EXPECT_TRUE(report_.emptied.empty());
  EXPECT_EQ(account().delivered, 2);
}

/// A slice for every entry.
class ManySlicesTest : public FlushTest {
 protected:
  ManySlicesTest() : FlushTest({.deliveries_per_turn = 10'000, .deliveries_per_visit = 10'000}) {}

  /// Publishes `data` to channel number `number` beside "a".
  void publish_to(int number, const std::string& data) {
    expected_ += "1:" + data + ";";
    hub_.publish("c" + std::to_string(number), {.data = data}, {}, [](const AppendResult&) {});
  }
};

/// More connections than one batch of sends holds, and more slices than its messages do.
TEST_P(ManySlicesTest, ATurnMayNeedSeveralBatches) {
  rlimit descriptors{};
  ::getrlimit(RLIMIT_NOFILE, &descriptors);
  descriptors.rlim_cur = std::min<rlim_t>(descriptors.rlim_max, 4'096);
  ::setrlimit(RLIMIT_NOFILE, &descriptors);
  std::vector<std::unique_ptr<Reader>> readers;
  for (int i = 0; i < 1'500; ++i) {
    readers.push_back(std::make_unique<Reader>(hub_, shard_, output_));
    for (int channel = 0; channel < 5; ++channel)
      readers.back()->subscribe(hub_, "c" + std::to_string(channel));
  }
  turn();
  publish("alone");
  turn();
  for (int channel = 0; channel < 5; ++channel) publish_to(channel, std::to_string(channel));
  turn();
  for (const auto& reader : readers) {
    reader->read(1'000);
    ASSERT_EQ(reader->arrived, expected_);
  }
  EXPECT_EQ(account().delivered, 6 * 1'500);
}

TEST_P(ManySlicesTest, MoreThanOneCallTakesLeaveInOneTurn) {
  Reader reader(hub_, shard_, output_);
  for (int channel = 0; channel < 200; ++channel) reader.subscribe(hub_, "c" + std::to_string(channel));
  turn();
  for (int channel = 0; channel < 200; ++channel) publish_to(channel, std::to_string(channel));
  turn();
  reader.read(100'000);
  EXPECT_EQ(reader.arrived, expected_);
  EXPECT_FALSE(reader.outlet.is_clogged);
  EXPECT_EQ(account().delivered, 200);
}

TEST_P(ManySlicesTest, NothingOvertakesWhatTheKernelHadNoRoomForWhileTheReaderReads) {
  Reader reader(hub_, shard_, output_);
  std::string arrived;
  std::thread far([&] {
    std::string buffer(700, '\0');
    for (ssize_t count = 0; (count = ::recv(reader.far_end, buffer.data(), buffer.size(), 0)) != 0;) {
      if (count > 0) arrived.append(buffer, 0, static_cast<std::size_t>(count));
    }
  });
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 200; ++i) publish(std::string(static_cast<std::size_t>(1 + (round + i) % 90), 'x'));
    do {
      turn();
      if (reader.outlet.is_clogged && flush_->flush_unsent(reader.outlet, 3'000, report_)) reader.on_empty();
    } while (reader.outlet.is_clogged || shard_.has_work());
  }
  ::shutdown(reader.outlet.descriptor, SHUT_WR);
  far.join();
  EXPECT_TRUE(arrived == expected_) << arrived.size() << " of " << expected_.size() << " bytes";
  EXPECT_EQ(account().delivered, published_);
}

TEST_P(FlushTest, TellsOfTheEmptyOutletOnlyWhoAskedForIt) {
  Reader quiet(hub_, shard_, output_);
  Reader curious(hub_, shard_, output_);
  curious.outlet.wants_empty_notice = true;
  publish("one");
  turn();
  EXPECT_EQ(report_.emptied, std::vector<Outlet*>{&curious.outlet});
}

TEST_P(FlushTest, CountsEntriesWithoutBytesAsFiltered) {
  Reader reader(hub_, shard_, output_);
  publish("-nothing");
  turn();
  publish("-nothing");
  publish("one");
  publish("-nothing");
  turn();
  reader.read(100);
  EXPECT_EQ(reader.arrived, expected_);
  EXPECT_EQ(account().delivered, 1);
  EXPECT_EQ(account().dropped[static_cast<std::size_t>(DropReason::filtered)], 3);
}

TEST_P(FlushTest, IsExactToTheByteWithAReaderThatStops) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    std::mt19937_64 random(seed);
    expected_.clear();
    Reader reader(hub_, shard_, output_);
    const int from = published_;
    std::int64_t frames = 0;
    bool was_clogged = false;
    for (int step = 0; step < 150; ++step) {
      const std::size_t burst = random() % 4;
      for (std::size_t i = 0; i < burst; ++i) {
        const bool is_filtered = random() % 8 == 0;
        frames += is_filtered ? 0 : 1;
        publish((is_filtered ? "-" : "") + std::string(random() % (random() % 6 == 0 ? 9'000 : 100), 'x'));
      }
      turn();
      was_clogged |= reader.outlet.is_clogged;
      EXPECT_LE(reader.outlet.pending_bytes(), 9'200U) << "more than the end of one frame";
      if (random() % 3 == 0) reader.read(random() % 4'000);
      if (reader.outlet.is_clogged && flush_->flush_unsent(reader.outlet, 3'000, report_)) reader.on_empty();
    }
    EXPECT_TRUE(was_clogged) << seed;
    drain(reader);
    ASSERT_EQ(reader.arrived, expected_) << seed;
    EXPECT_GT(published_, from);
    EXPECT_EQ(account().pending, 0);
  }
  EXPECT_TRUE(report_.broken.empty());
}

TEST_P(FlushTest, KeepsOwnBytesBehindACutFrame) {
  Reader reader(hub_, shard_, output_);
  publish(std::string(100'000, 'x'));
  publish("two");
  turn();
  ASSERT_TRUE(reader.outlet.is_clogged);
  EXPECT_EQ(report_.clogged, std::vector<Outlet*>{&reader.outlet});
  EXPECT_EQ(reader.outlet.progress_ms, 2'000);
  output_.add(reader.outlet, "pong;");
  EXPECT_TRUE(output_.is_empty()) << "it is unsent";
  EXPECT_EQ(account().pending, 2);
  drain(reader);
  EXPECT_EQ(reader.arrived, "1:" + std::string(100'000, 'x') + ";pong;2:two;");
  EXPECT_EQ(account().delivered, 2);
}

TEST_P(FlushTest, ProgressIsTheTimeOfTheLastByteTaken) {
  Reader reader(hub_, shard_, output_);
  publish(std::string(100'000, 'x'));
  turn();
  EXPECT_FALSE(flush_->flush_unsent(reader.outlet, 2'500, report_));
  EXPECT_EQ(reader.outlet.progress_ms, 2'000) << "nothing was taken";
  while (reader.read(10'000) > 0) {
  }
  EXPECT_FALSE(flush_->flush_unsent(reader.outlet, 2'600, report_));
  EXPECT_EQ(reader.outlet.progress_ms, 2'600);
  EXPECT_TRUE(report_.broken.empty());
}

TEST_P(FlushTest, ABrokenPipeIsReportedAndNothingCountsAsSent) {
  for (const bool has_several_slices : {false, true}) {
    Reader reader(hub_, shard_, output_);
    Reader healthy(hub_, shard_, output_);
    ::close(reader.far_end);
    reader.far_end = -1;
    const std::int64_t before = account().delivered;
    publish("one");
    if (has_several_slices) output_.add(reader.outlet, "reply");
    report_.clear();
    turn();
    EXPECT_EQ(report_.broken, std::vector<Outlet*>{&reader.outlet});
    EXPECT_EQ(account().pending, 1);
    EXPECT_EQ(account().delivered, before + 1) << "the healthy one";
    EXPECT_TRUE(report_.clogged.empty());
  }
}

TEST_P(FlushTest, APipeThatBreaksBehindARestIsReported) {
  Reader reader(hub_, shard_, output_);
  publish(std::string(100'000, 'x'));
  turn();
  ASSERT_TRUE(reader.outlet.is_clogged);
  ::close(reader.far_end);
  reader.far_end = -1;
  EXPECT_FALSE(flush_->flush_unsent(reader.outlet, 3'000, report_));
  EXPECT_EQ(report_.broken, std::vector<Outlet*>{&reader.outlet});
  EXPECT_EQ(account().delivered, 0);
}

const auto kWays = ::testing::Values("send", "io_uring");
const auto kName = [](const auto& way) { return std::string(way.param); };
INSTANTIATE_TEST_SUITE_P(By, FlushTest, kWays, kName);
INSTANTIATE_TEST_SUITE_P(By, ManySlicesTest, kWays, kName);

}  // namespace
}  // namespace carillon
