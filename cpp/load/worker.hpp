#pragma once

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "load/board.hpp"
#include "load/dialect.hpp"
#include "load/report.hpp"
#include "load/settings.hpp"

namespace carillon::load {

/// One worker of a run: its share of the subscribers, and in the worker 0 also the publishers, one per
/// server; one thread, one epoll. A fresh object for every run.
class Worker final : private LineEvents {
 public:
  /// Throws std::invalid_argument for settings that cannot be, and std::system_error.
  Worker(Settings settings, Board& board);
  ~Worker() override;

  /// Connects, warms up, measures. Comes back early, with the report saying why, once a connection is lost or
  /// refused, or nothing has moved for `timeout_s`.
  Report run();

 private:
  void send(Line& line, std::string_view bytes) override;
  void on_live(Line& line) override;
  std::size_t on_messages(Line& line, std::string_view text) override;
  void on_ping(Line& line) override;
  void on_published(Line& line, std::uint64_t number) override;
  void on_malformed(Line& line, std::string_view text) override;
  void on_refused(Line& line, std::string_view why) override;
  void on_lost(Line& line, std::string_view why) override;
  void on_not_recovered(Line& line) override;

  [[nodiscard]] std::vector<sockaddr_storage> resolve();
  void count_subscribers();
  void connect(std::size_t subscribers);
  [[nodiscard]] const sockaddr_storage& server_of(const Line& line) const;
  void start_connecting(Line& line);
  void bind_source(const Line& line);
  void watch(Line& line, std::uint32_t interest, int operation);

  void turn(std::uint64_t wait_ns);
  void on_event(Line& line, std::uint32_t ready);
  void read_from(Line& line);
  void flush(Line& line);
  void notice_stall();

  void on_message(Line& line, std::string_view data, std::uint64_t number);
  void arrived(std::uint64_t number);

  void measure();
  void publish(std::uint64_t messages, double seconds);
  void append_message(std::uint64_t due_ns);
  [[nodiscard]] bool has_room() const;
  [[nodiscard]] std::uint64_t completed() const;
  std::uint64_t record(Histogram& whole, Histogram Slice::* part, std::uint64_t number);
  [[nodiscard]] bool is_in_window() const;
  void retire_completed();
  void follow();
  void stay_idle();
  void finish();
  void note_ping_gap(Line& line);

  // Cuts, in worker_cuts.cpp.
  void step_cuts();
  void cut();
  void cut_some();
  void send_away(Line& line, std::uint64_t until_ns);
  /// A subscriber whose link can be cut: it comes back by itself.
  [[nodiscard]] bool comes_back(const Line& line) const;
  void come_back_later(Line& line);
  [[nodiscard]] bool has_cuts_left() const;

  void fail(std::string_view what, std::string_view why);
  void note_fault(std::string_view what, std::string_view text);
  [[nodiscard]] bool has_failed() const { return state_.is_failed.load(std::memory_order_relaxed) != 0; }
  [[nodiscard]] bool is_publishing() const { return settings_.worker == 0 && !settings_.is_idle; }
  [[nodiscard]] std::uint64_t wait_ns() const;

  const Settings settings_;
  const Share share_;
  Board& board_;
  Board::Header& state_;
  const ProcessMeter server_;
  const std::unique_ptr<Dialect> subscriber_dialect_;
  const std::unique_ptr<Dialect> publisher_dialect_;
  socklen_t address_bytes_ = 0;
  const std::vector<sockaddr_storage> servers_;
  const sockaddr_storage return_address_;  // where Settings::return_port is
  int epoll_ = -1;
  std::vector<epoll_event> events_;
  std::vector<char> read_buffer_;
  std::vector<Line> subscribers_;
  std::vector<Line> publishers_;  // one per server
  std::size_t started_ = 0;       // subscribers that are connecting or live
  std::size_t live_ = 0;          // of them

  SequenceChecker checker_;                       // one stream per subscription
  std::vector<std::uint32_t> local_subscribers_;  // by channel
  std::vector<std::uint32_t> workers_needed_;     // by channel: those that have subscribers of it
  std::vector<std::uint32_t> arrivals_;           // by message in flight
  std::uint64_t oldest_ = 0;                      // the first message that is not completed
  std::uint64_t replies_ = 0;                     // of the servers to publishers
  std::uint64_t now_ns_ = 0;                      // when what is being read was there
  std::uint64_t deliveries_ = 0;                  // those of the warm-up, too
  std::uint64_t deliveries_told_ = 0;             // to the board
  std::uint64_t progress_ = 0;                    // what was last seen to move,
  std::uint64_t progress_ns_ = 0;                 // and when
  struct Cuts {
    using Return = std::pair<std::uint64_t, Line*>;  // when, who
    std::priority_queue<Return, std::vector<Return>, std::greater<>> away;
    // The same returns in every run.
    std::minstd_rand random;    // NOLINT(bugprone-random-generator-seed)
    std::uint64_t next_ns = 0;  // 0: not yet
    std::uint64_t done = 0;
    std::size_t to_cut = 0;        // so many subscribers are to be looked at for the cut under way
    std::uint64_t returns_ns = 0;  // of the cut under way: when the first one comes back
    std::uint64_t quiet_ns = 0;    // when all were live again
    CpuTime cpu_before;
    bool is_under_way = false;
    bool has_returns = false;
  };
  Cuts cuts_;
  std::string publishing_;  // leaves at the end of a burst
  std::string data_;
  Report report_;
};

}  // namespace carillon::load
