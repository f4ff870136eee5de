#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace carillon {

/// The order of one client's commands. A command belongs to a lane. Commands of one lane are carried out in
/// order of arrival, each after the answer to the one before it; lanes do not wait for each other. A command
/// is a text here; its owner knows how to carry it out.
///
/// The owner asks must_wait() of each command and gives it to wait(), or carries it out between begin() and
/// end(). A command whose answer comes later takes a ticket for it (defer()) and gives it back (finish());
/// then next() has what can be carried out now. A command that is answered before its end() leaves no trace:
/// it costs neither memory nor a search.
class Lanes {
 public:
  /// Identifies a pending answer; never 0.
  using Ticket = std::uint32_t;

  /// `under_way` is a gauge of the commands of many clients. `concurrency` is the maximum number of lanes
  /// under way at once; 0: unlimited, 1: all commands share one lane.
  Lanes(std::atomic<std::uint64_t>& under_way, std::int64_t concurrency)
      : gauge_(under_way), concurrency_(static_cast<std::size_t>(concurrency)) {}
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;
  ~Lanes() { clear(); }

  /// The number of commands that wait or have a pending answer, and the bytes of their texts.
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  [[nodiscard]] std::size_t bytes() const;

  /// Must a new command of this lane wait for another one?
  [[nodiscard]] bool must_wait(std::string_view lane) const { return !entries_.empty() && is_taken(lane); }
  /// The command waits. `cancels` names a waiting command that is void from now on; empty: none.
  void wait(std::string_view lane, std::string_view command, std::string_view cancels = {});
  /// Does a command wait that cancels this?
  [[nodiscard]] bool is_cancelled(std::string_view what) const;

  /// A command is being carried out: until end(), next() has nothing.
  void begin() { is_carrying_out_ = true; }
  [[nodiscard]] bool is_carrying_out() const { return is_carrying_out_; }
  /// Its answer comes later.
  [[nodiscard]] Ticket defer() {
    last_ = std::max<Ticket>(last_ + 1, 1);
    return deferred_ = last_;
  }
  void end(std::string_view lane, std::size_t bytes) {
    is_carrying_out_ = false;
    if (deferred_ != 0) [[unlikely]]
      add(lane, bytes);
  }
  /// Is the answer still pending: neither given, nor released, nor cleared?
  [[nodiscard]] bool is_wanted(Ticket ticket) const { return ticket == deferred_ || is_under_way(ticket); }
  /// The answer has been given, or will never be.
  void finish(Ticket ticket) {
    if (ticket == deferred_) {
      deferred_ = 0;
    } else {
      remove(ticket);
    }
  }
  /// The answer is no longer needed: its lane continues. It still counts until finish().
  void release(Ticket ticket);
  /// The first command that has waited and can be carried out now.
  [[nodiscard]] std::optional<std::string> next();
  /// Forgets everything.
  void clear();

 private:
  struct Entry {
    std::string lane;
    std::string text;     // while it waits
    std::string cancels;  // while it waits
    std::size_t bytes;
    Ticket ticket;  // 0: it waits
    bool is_released;
  };

  void add(std::string_view lane, std::size_t bytes);
  void remove(Ticket ticket);
  void erase(std::vector<Entry>::iterator entry);
  [[nodiscard]] bool is_taken(std::string_view lane) const;
  [[nodiscard]] bool is_under_way(Ticket ticket) const;
  [[nodiscard]] bool can_begin(std::string_view lane) const;

  std::atomic<std::uint64_t>& gauge_;
  const std::size_t concurrency_;
  std::vector<Entry> entries_;  // the waiting ones are in order of arrival
  Ticket last_ = 0;
  Ticket deferred_ = 0;  // of the command that is being carried out
  bool is_carrying_out_ = false;
};

}  // namespace carillon
