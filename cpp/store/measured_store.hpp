#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>

#include "env/clock.hpp"
#include "metrics/histogram.hpp"
#include "store/forwarding_store.hpp"

namespace carillon {

inline constexpr std::size_t kStoreErrors = 8;
/// As metrics and logs have it. Of StoreError::none: "none".
[[nodiscard]] std::string_view name_of(StoreError error);

/// Measures how long another store takes to answer, and counts its errors. For stores that answer later: the
/// one in memory would only become slower. Thread-safe.
class MeasuredStore final : public ForwardingStore<> {
 public:
  /// Calls with a latency of their own.
  enum class Call : std::uint8_t { append, read, follow, top, enter, inbox };
  static constexpr std::array<std::string_view, 6> kCallNames{"append", "read",  "follow",
                                                              "top",    "enter", "inbox"};

  MeasuredStore(Store& to, const Clock& clock) : ForwardingStore(to), clock_(clock) {}

  [[nodiscard]] HistogramCounts latency(Call call) const {
    return latencies_[static_cast<std::size_t>(call)].counts();
  }
  /// Answers with this error since the start, of all these calls.
  [[nodiscard]] std::uint64_t errors(StoreError error) const {
    return errors_[static_cast<std::size_t>(error)].load(std::memory_order_relaxed);
  }
  /// Publications that were appended, or refused for what their publisher asked.
  [[nodiscard]] std::uint64_t answered_publications() const {
    return answered_publications_.load(std::memory_order_relaxed);
  }
  /// Publications that were not appended, or may not have been, for no fault of their publisher.
  [[nodiscard]] std::uint64_t failed_publications() const {
    return failed_publications_.load(std::memory_order_relaxed);
  }

  /// Of these calls.
  [[nodiscard]] std::int64_t under_way() const { return under_way_.load(std::memory_order_relaxed); }

  void append(std::string_view channel, std::shared_ptr<Entry> entry, const AppendOptions& options,
              std::function<void(const AppendResult&)> done) override {
    if (entry->kind != EntryKind::publication)
      return ForwardingStore::append(channel, std::move(entry), options,
                                     measured(Call::append, std::move(done)));
    auto count = [this, done = std::move(done)](const AppendResult& result) {
      const bool is_answered = result.error == StoreError::none || result.error == StoreError::conflict;
      (is_answered ? answered_publications_ : failed_publications_).fetch_add(1, std::memory_order_relaxed);
      done(result);
    };
    ForwardingStore::append(channel, std::move(entry), options,
                            measured<AppendResult>(Call::append, std::move(count)));
  }
  void read(std::string_view channel, const ReadRange& range,
            std::function<void(const Page&)> done) override {
    ForwardingStore::read(channel, range, measured(Call::read, std::move(done)));
  }
  void follow(std::string_view channel, std::function<void(const TopResult&)> done) override {
    ForwardingStore::follow(channel, measured(Call::follow, std::move(done)));
  }
  void top(std::string_view channel, std::function<void(const TopResult&)> done) override {
    ForwardingStore::top(channel, measured(Call::top, std::move(done)));
  }
  void enter(std::string_view channel, std::size_t members_max,
             std::function<void(const EnterResult&)> done) override {
    ForwardingStore::enter(channel, members_max, measured(Call::enter, std::move(done)));
  }
  void inbox(std::string_view user, std::size_t limit,
             std::function<void(const InboxResult&)> done) override {
    ForwardingStore::inbox(user, limit, measured(Call::inbox, std::move(done)));
  }

 private:
  template <typename Result>
  std::function<void(const Result&)> measured(Call call, std::function<void(const Result&)> done) {
    under_way_.fetch_add(1, std::memory_order_relaxed);
    return [this, call, begin_ns = clock_.now_ns(), done = std::move(done)](const Result& result) {
      latencies_[static_cast<std::size_t>(call)].observe_ns(clock_.now_ns() - begin_ns);
      errors_[static_cast<std::size_t>(result.error)].fetch_add(1, std::memory_order_relaxed);
      under_way_.fetch_sub(1, std::memory_order_relaxed);
      done(result);
    };
  }

  const Clock& clock_;
  std::array<Histogram, kCallNames.size()> latencies_{Histogram(kDurationBounds), Histogram(kDurationBounds),
                                                      Histogram(kDurationBounds), Histogram(kDurationBounds),
                                                      Histogram(kDurationBounds), Histogram(kDurationBounds)};
  std::array<std::atomic<std::uint64_t>, kStoreErrors> errors_{};
  std::atomic<std::uint64_t> answered_publications_{0};
  std::atomic<std::uint64_t> failed_publications_{0};
  std::atomic<std::int64_t> under_way_{0};
};

}  // namespace carillon
