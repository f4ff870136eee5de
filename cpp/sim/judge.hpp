#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/trace.hpp"

namespace carillon::sim {

/// A publication's data for a line of text: without the quotes and blanks of a large one.
[[nodiscard]] std::string brief(const std::string& data);

/// What is known of a world from outside, and whether the promises are kept: one order for all, nothing
/// acknowledged lost, nothing delivered twice, every gap told. It believes only what clients have received,
/// what publishers were answered, and what the simulated Redis has lost.
class Judge {
 public:
  /// `history_size`: publications of a channel that are kept. `top_of` asks the store for the newest offset
  /// of a channel in an epoch, whichever server knows it; nothing: the epoch has ended.
  using TopOf =
      std::function<std::optional<std::uint64_t>(const std::string& channel, const std::string& epoch)>;
  Judge(Trace& trace, std::uint64_t history_size, TopOf top_of)
      : trace_(trace), history_size_(history_size), top_of_(std::move(top_of)) {}

  /// Where delivery starts for a client.
  struct Start {
    std::optional<bool> recovered;  ///< nothing: it has named no position
    std::string epoch;
    std::uint64_t offset = 0;  ///< the first publication comes behind it
  };

  // ---- what publishers see
  void on_published(const std::string& channel, const std::string& data) { published_[channel].insert(data); }
  void on_acknowledged(const std::string& channel, const std::string& data, const std::string& epoch,
                       std::uint64_t offset);

  /// Its publisher was answered that nothing was stored, and has not tried again.
  void on_refused(const std::string& channel, const std::string& data);

  // ---- what clients see
  void on_start(const std::string& client, const std::string& channel, const Start& start);
  void on_publication(const std::string& client, const std::string& channel, std::uint64_t offset,
                      const std::string& data);
  /// Its subscription ends: it will name its position when it comes back.
  void on_away(const std::string& client, const std::string& channel);

  /// A publication at its position, as somebody sees it who is no subscriber.
  void on_shown(const std::string& channel, const std::string& epoch, std::uint64_t offset,
                const std::string& data, const std::string& who) {
    note(channel, epoch, offset, data, who);
  }

  // ---- what the store has done
  /// A publication that the store has lost, so that it may be in no log any more.
  void on_lost(const std::string& data) { lost_.insert(data); }
  /// All that was published to a channel so far; empty: to all channels.
  void on_all_lost(const std::string& channel);
  /// The store may have lost something: every channel may begin a new epoch.
  void on_loss_possible() { ++losses_possible_; }

  /// The highest offset that anybody has seen in the epoch; nothing: nobody has seen any.
  [[nodiscard]] std::optional<std::uint64_t> newest_of(const std::string& channel,
                                                       const std::string& epoch) const;

  // ---- the end
  struct Log {
    std::string epoch;
    std::uint64_t top = 0;
    std::vector<std::pair<std::uint64_t, std::string>> kept;  ///< offsets and data
  };
  /// What the store has at the end, where every client has to stand.
  void judge_log(const std::string& channel, const Log& log);
  /// Why it is not there yet; empty: it is.
  [[nodiscard]] std::string unrest_of(const std::string& client, const std::string& channel, const Log& log);
  void complain(std::string what);

  [[nodiscard]] const std::vector<std::string>& complaints() const { return complaints_; }
  [[nodiscard]] std::uint64_t acknowledged() const { return acknowledged_count_; }
  [[nodiscard]] std::uint64_t delivered() const { return delivered_; }
  [[nodiscard]] std::uint64_t gaps() const { return gaps_; }
  [[nodiscard]] std::uint64_t lost() const { return lost_.size(); }
  [[nodiscard]] bool is_lost(const std::string& data) const { return lost_.contains(data); }
  [[nodiscard]] std::uint64_t losses_possible() const { return losses_possible_; }
  [[nodiscard]] std::uint64_t recoveries() const { return recoveries_; }

 private:
  static constexpr std::size_t kComplaints = 20;  // more say nothing new

  struct Place {
    std::string epoch;
    std::uint64_t offset = 0;
    bool is_live = false;
    bool has_started = false;
  };
  /// Is everything behind it still there? False also if that cannot be known, because the epoch has ended.
  [[nodiscard]] bool is_kept(const std::string& channel, const Place& place) const;
  void note(const std::string& channel, const std::string& epoch, std::uint64_t offset,
            const std::string& data, const std::string& who);

  Trace& trace_;
  const std::uint64_t history_size_;
  const TopOf top_of_;
  std::map<std::pair<std::string, std::string>, Place> places_;  // by client and channel
  std::map<std::string, std::map<std::pair<std::string, std::uint64_t>, std::string>> order_;  // by channel
  std::map<std::string, std::map<std::string, std::pair<std::string, std::uint64_t>>> acknowledged_;
  std::map<std::string, std::set<std::string>> published_;
  std::map<std::string, std::set<std::string>> epochs_;
  std::set<std::string> lost_;
  std::set<std::string> refused_;
  std::vector<std::string> complaints_;
  std::uint64_t acknowledged_count_ = 0;
  std::uint64_t delivered_ = 0;
  std::uint64_t gaps_ = 0;
  std::uint64_t recoveries_ = 0;
  std::uint64_t losses_possible_ = 0;
};

}  // namespace carillon::sim
