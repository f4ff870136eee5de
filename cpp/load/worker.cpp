#include "load/worker.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "load/nanoseconds.hpp"

namespace carillon::load {

namespace {

constexpr std::size_t kReadBytes = 256 * 1024;             // at a time
constexpr std::size_t kMessageBytesMax = 2 * 1024 * 1024;  // a poll's answer is larger than a frame
constexpr std::size_t kEventsMax = 512;
constexpr std::size_t kConnectingAtOnce = 200;        // stays below every backlog
constexpr std::uint64_t kConnectionsPerSource = 256;  // an address has some 28,000 ports, a client a few
constexpr std::uint64_t kWaitNs = kNsPerS / 10;
constexpr std::uint64_t kBoardWaitNs = 100'000;  // what other workers do wakes nobody
constexpr std::uint64_t kLingerNs = 20'000'000;  // for what comes once too often

Settings checked(Settings settings) {
  check(settings);
  return settings;
}

CpuTime operator-(const CpuTime& after, const CpuTime& before) {
  return {after.total_ns - before.total_ns, after.user_ms - before.user_ms,
          after.system_ms - before.system_ms};
}

sockaddr_storage with_port(sockaddr_storage address, std::uint16_t port) {
  reinterpret_cast<sockaddr_in*>(&address)->sin_port = htons(port);  // at the same place in both kinds
  return address;
}

}  // namespace

Worker::Worker(Settings settings, Board& board)
    : settings_(checked(std::move(settings))),
      share_(share_of(settings_, settings_.worker)),
      board_(board),
      state_(board.header()),
      server_(settings_.server_pids),
      subscriber_dialect_(make_subscriber_dialect(settings_, *this)),
      publisher_dialect_(make_publisher_dialect(settings_, *this)),
      servers_(resolve()),
      return_address_(with_port(servers_.front(), settings_.return_port)),
      events_(kEventsMax),
      read_buffer_(kMessageBytesMax + kReadBytes),
      subscribers_(share_.size()),
      publishers_(is_publishing() ? servers_.size() : 0),
      checker_(share_.size() * settings_.channels_per_connection),
      workers_needed_(settings_.channels),
      arrivals_(Board::kMessages) {
  for (std::size_t i = 0; i < subscribers_.size(); ++i) subscribers_[i].index = static_cast<std::uint32_t>(i);
  for (std::size_t i = 0; i < publishers_.size(); ++i) {
    publishers_[i].index = static_cast<std::uint32_t>(i);
    publishers_[i].is_publisher = true;
  }
  count_subscribers();
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
}

Worker::~Worker() {
  for (const Line& line : subscribers_) {
    if (line.fd >= 0) close(line.fd);
  }
  for (const Line& line : publishers_) {
    if (line.fd >= 0) close(line.fd);
  }
  close(epoll_);
}

Report Worker::run() {
  progress_ns_ = clock_ns();
  state_.started_workers.fetch_add(1);
  if (settings_.worker == 0) {
    while (state_.started_workers.load() < settings_.workers && !has_failed()) turn(kWaitNs / 100);
    connect(std::min<std::size_t>(
        1, subscribers_.size()));  // together with the publisher it pays for what a server sets up only once
    report_.server_before = server_.memory();
    state_.may_connect.store(1);
  }
  while (state_.may_connect.load() == 0 && !has_failed()) turn(kBoardWaitNs);
  const std::uint64_t start_ns = clock_ns();
  connect(subscribers_.size());
  state_.connected_workers.fetch_add(1);
  while (state_.connected_workers.load() < settings_.workers && !has_failed()) turn(kBoardWaitNs);
  report_.connect_s = static_cast<double>(clock_ns() - start_ns) / 1e9;
  if (settings_.worker == 0) report_.server_connected = server_.memory();
  if (!has_failed()) {
    if (settings_.is_idle) {
      stay_idle();
    } else if (is_publishing()) {
      measure();
    } else {
      follow();
    }
  }
  finish();
  return std::move(report_);
}

// ---- connecting

std::vector<sockaddr_storage> Worker::resolve() {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  std::vector<sockaddr_storage> servers;
  for (const std::uint16_t port :
       settings_.ports.empty() ? std::vector<std::uint16_t>{settings_.port} : settings_.ports) {
    addrinfo* found = nullptr;
    const int error = getaddrinfo(settings_.host.c_str(), std::to_string(port).c_str(), &hints, &found);
    if (error != 0) {
      throw std::system_error(EHOSTUNREACH, std::generic_category(),
                              settings_.host + ": " + gai_strerror(error));
    }
    std::memcpy(&servers.emplace_back(), found->ai_addr, found->ai_addrlen);
    address_bytes_ = found->ai_addrlen;
    freeaddrinfo(found);
  }
  return servers;
}

const sockaddr_storage& Worker::server_of(const Line& line) const {
  const bool is_elsewhere = settings_.return_port > 0 && (line.is_publisher || line.has_moved);
  return is_elsewhere ? return_address_
                      : servers_[(line.is_publisher ? line.index : settings_.worker) % servers_.size()];
}

void Worker::count_subscribers() {
  for (std::uint32_t worker = 0; worker < settings_.workers; ++worker) {
    const Share share = share_of(settings_, worker);
    const std::uint64_t each = settings_.channels_per_connection;
    std::vector<std::uint32_t> subscribers(settings_.channels);
    for (std::uint64_t i = share.first * each; i < share.last * each; ++i) {
      ++subscribers[i % settings_.channels];
    }
    for (std::size_t i = 0; i < subscribers.size(); ++i) workers_needed_[i] += subscribers[i] > 0 ? 1 : 0;
    if (worker == settings_.worker) local_subscribers_ = std::move(subscribers);
  }
}

/// Returns once the publishers and the first `subscribers` are live.
void Worker::connect(std::size_t subscribers) {
  for (Line& line : publishers_) {
    if (line.fd < 0) start_connecting(line);
  }
  const auto is_complete = [&] {
    return live_ >= subscribers && std::all_of(publishers_.begin(), publishers_.end(), [](const Line& line) {
             return line.stage == Line::Stage::live;
           });
  };
  while (!is_complete() && !has_failed()) {
    while (started_ < subscribers && started_ - live_ < kConnectingAtOnce) {
      start_connecting(subscribers_[started_++]);
    }
    turn(kNsPerS / 1000);
  }
}

void Worker::start_connecting(Line& line) {
  line.stage = Line::Stage::connecting;
  line.began_ns = clock_ns();
  line.partial.clear();
  line.fd = socket(server_of(line).ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (line.fd < 0) return on_lost(line, std::strerror(errno));
  const int on = 1;
  setsockopt(line.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (!line.is_publisher) bind_source(line);
  const auto* address = reinterpret_cast<const sockaddr*>(&server_of(line));
  if (::connect(line.fd, address, address_bytes_) != 0 && errno != EINPROGRESS) {
    return on_lost(line, std::strerror(errno));
  }
  watch(line, EPOLLOUT, EPOLL_CTL_ADD);
}

/// On the loopback network client addresses are ours to choose: spread, so that ports do not run out.
void Worker::bind_source(const Line& line) {
  sockaddr_in target{};
  std::memcpy(&target, &server_of(line), std::min<std::size_t>(sizeof target, address_bytes_));
  if (target.sin_family != AF_INET || ntohl(target.sin_addr.s_addr) >> 24 != IN_LOOPBACKNET) return;
  const std::uint64_t source = (share_.first + line.index) / kConnectionsPerSource;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(source));
  const int on = 1;
  setsockopt(line.fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  [[maybe_unused]] const int
      bound =  // without it the kernel chooses, which is right for as long as ports last
      bind(line.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

void Worker::watch(Line& line, std::uint32_t interest, int operation) {
  epoll_event event{};
  event.events = interest;
  event.data.ptr = &line;
  epoll_ctl(epoll_, operation, line.fd, &event);
}

void Worker::on_live(Line& line) {
  line.stage = Line::Stage::live;
  line.ping_ns = now_ns_;
  if (line.is_publisher) return;
  ++live_;
  state_.live.fetch_add(1, std::memory_order_relaxed);
  if (!cuts_.is_under_way) return;
  ++report_.cuts.returns;
  report_.cuts.resume.record(clock_ns() - line.began_ns);
}

// ---- one turn of the loop

std::uint64_t Worker::wait_ns() const {
  if (settings_.is_spinning || cuts_.to_cut > 0) return 0;
  if (cuts_.is_under_way) return kNsPerS / 1000;
  return settings_.workers > 1 ? kBoardWaitNs : kWaitNs;
}

void Worker::turn(std::uint64_t wait_ns) {
  timespec wait{static_cast<time_t>(wait_ns / kNsPerS), static_cast<long>(wait_ns % kNsPerS)};
  const int count = epoll_pwait2(epoll_, events_.data(), static_cast<int>(events_.size()), &wait, nullptr);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events_[static_cast<std::size_t>(i)];
    on_event(*static_cast<Line*>(event.data.ptr), event.events);
  }
  if (deliveries_ != deliveries_told_) {
    state_.deliveries.fetch_add(deliveries_ - deliveries_told_, std::memory_order_relaxed);
    deliveries_told_ = deliveries_;
  }
  if (settings_.has_returns()) step_cuts();
  notice_stall();
}

void Worker::on_event(Line& line, std::uint32_t ready) {
  if (line.fd < 0) return;  // lost in this very turn
  if (line.stage == Line::Stage::connecting) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(line.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return on_lost(line, std::strerror(error));
    watch(line, EPOLLIN, EPOLL_CTL_MOD);
    return (line.is_publisher ? publisher_dialect_ : subscriber_dialect_)->open(line);
  }
  if ((ready & EPOLLOUT) != 0) flush(line);
  if ((ready & ~static_cast<std::uint32_t>(EPOLLOUT)) != 0 && line.fd >= 0) read_from(line);
}

void Worker::read_from(Line& line) {
  const std::size_t kept = line.partial.size();
  if (kept >= kMessageBytesMax) return on_lost(line, "a message larger than 2 MiB");
  std::copy(line.partial.begin(), line.partial.end(), read_buffer_.begin());
  const ssize_t got = recv(line.fd, read_buffer_.data() + kept, kReadBytes, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return on_lost(line, got == 0 ? "closed by the server" : std::strerror(errno));
  now_ns_ = clock_ns();
  if (!line.is_publisher && is_in_window()) report_.received_bytes += static_cast<std::uint64_t>(got);
  const std::size_t size = kept + static_cast<std::size_t>(got);
  Dialect& dialect = line.is_publisher ? *publisher_dialect_ : *subscriber_dialect_;
  std::size_t used = 0;
  while (used < size && line.fd >= 0) {
    const std::size_t step = dialect.hear(line, read_buffer_.data() + used, size - used);
    if (step == 0) break;
    used += step;
  }
  line.partial.assign(read_buffer_.data() + used, size - used);
}

void Worker::send(Line& line, std::string_view bytes) {
  if (line.fd < 0) return;
  if (!line.is_publisher && is_in_window()) report_.sent_bytes += bytes.size();
  if (line.outgoing.empty()) {
    const ssize_t sent = ::send(line.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return on_lost(line, std::strerror(errno));
    bytes.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
    if (bytes.empty()) return;
    watch(line, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
  }
  line.outgoing.append(bytes);
}

void Worker::flush(Line& line) {
  const std::string waiting = std::exchange(line.outgoing, {});
  if (!waiting.empty()) send(line, waiting);
  if (line.outgoing.empty() && line.fd >= 0) watch(line, EPOLLIN, EPOLL_CTL_MOD);
}

/// Gives the run up once nothing moves that should.
void Worker::notice_stall() {
  const std::uint64_t completed = state_.completed.load(std::memory_order_relaxed);
  const std::uint64_t moved =
      state_.live.load(std::memory_order_relaxed) + completed + deliveries_ + replies_;
  const bool is_waiting = state_.connected_workers.load(std::memory_order_relaxed) < settings_.workers ||
                          this->completed() < state_.published.load(std::memory_order_relaxed);
  const std::uint64_t now = clock_ns();
  if (!is_waiting || moved != progress_) {
    progress_ = moved;
    progress_ns_ = now;
  } else if (now - progress_ns_ > to_ns(settings_.timeout_s) && !has_failed()) {
    report_.stalled = 1;
    state_.is_stalled.store(1);
    fail("stalled", "no progress within the time-out");
  }
}

// ---- messages

std::size_t Worker::on_messages(Line& line, std::string_view text) {
  std::size_t count = 0;
  for (std::uint64_t number = 0; next_mark(text, number); ++count) on_message(line, text, number);
  return count;
}

void Worker::on_message(Line& line, std::string_view behind_mark, std::uint64_t number) {
  const std::uint64_t channel = number % settings_.channels;
  const std::uint64_t first =
      (share_.first + line.index) * settings_.channels_per_connection % settings_.channels;
  const std::uint64_t nth = (channel + settings_.channels - first) % settings_.channels;
  if (line.is_publisher || nth >= settings_.channels_per_connection ||
      number >= state_.published.load(std::memory_order_acquire)) {
    return on_malformed(line, "message " + std::to_string(number) + ", which is not for this subscriber");
  }
  const std::uint64_t stream = line.index * settings_.channels_per_connection + nth;
  const auto verdict = checker_.hear(stream, number / settings_.channels);
  if (!verdict.is_new) return note_fault("repeated or reordered", std::to_string(number));
  if (verdict.skipped > 0) {
    note_fault("missing before", std::to_string(number));
    for (std::uint64_t i = verdict.skipped; i > 0; --i) arrived(number - i * settings_.channels);
  }
  if (line.index == 0) {
    write_data(data_, number, settings_);
    const std::string_view rest = std::string_view(data_).substr(kMarkBytes + 1);
    if (!behind_mark.starts_with(rest.substr(0, rest.size() - 1))) {
      ++report_.changed;
      note_fault("changed", behind_mark);
    }
  }
  ++deliveries_;
  if (number >= settings_.warmup) {
    const std::uint64_t latency_ns = record(report_.latency, &Slice::latency, number);
    if (settings_.has_returns() && line.index < settings_.staying) {
      (cuts_.is_under_way ? report_.cuts.staying_storm : report_.cuts.staying_quiet).record(latency_ns);
    }
  }
  arrived(number);
}

/// The time from when the message was due until now, which is recorded.
std::uint64_t Worker::record(Histogram& whole, Histogram Slice::* part, std::uint64_t number) {
  const std::uint64_t due_ns = board_.message(number).due_ns.load(std::memory_order_relaxed);
  const std::uint64_t time_ns = now_ns_ > due_ns ? now_ns_ - due_ns : 0;
  whole.record(time_ns);
  if (settings_.slice_s > 0) {
    const std::uint64_t since_ns = due_ns - state_.measuring_since_ns.load(std::memory_order_relaxed);
    const std::size_t slice = std::min<std::size_t>(since_ns / to_ns(settings_.slice_s), kSlicesMax - 1);
    if (slice >= report_.slices.size()) report_.slices.resize(slice + 1);
    (report_.slices[slice].*part).record(time_ns);
  }
  return time_ns;
}

void Worker::on_published(Line& /*line*/, std::uint64_t number) {
  if (!settings_.awaits_replies) return;
  if (number >= state_.published.load(std::memory_order_relaxed)) {
    return note_fault("malformed", "a reply to a message that was not published");
  }
  ++replies_;
  if (number >= settings_.warmup) record(report_.publish, &Slice::publish, number);
}

void Worker::on_ping(Line& line) {
  ++report_.pings;
  note_ping_gap(line);
}

void Worker::note_ping_gap(Line& line) {
  if (now_ns_ > line.ping_ns) report_.ping_gaps.record(now_ns_ - line.ping_ns);
  line.ping_ns = now_ns_;
}

/// One more subscriber of this worker has the message, or will never have it.
void Worker::arrived(std::uint64_t number) {
  const std::uint64_t channel = number % settings_.channels;
  std::uint32_t& arrivals = arrivals_[number % Board::kMessages];
  if (++arrivals < local_subscribers_[channel]) return;
  arrivals = 0;
  Board::Message& message = board_.message(number);
  const std::uint64_t due_ns = message.due_ns.load(std::memory_order_relaxed);
  if (message.workers_done.fetch_add(1, std::memory_order_acq_rel) + 1 < workers_needed_[channel]) return;
  if (number >= settings_.warmup) report_.last_subscriber.record(now_ns_ > due_ns ? now_ns_ - due_ns : 0);
  state_.completed.fetch_add(1, std::memory_order_release);
}

// ---- publishing and measuring

void Worker::measure() {
  if (settings_.warmup > 0) publish(settings_.warmup, 0);
  state_.measuring_since_ns.store(clock_ns());
  state_.is_measuring.store(1);
  const CpuTime cpu_before = server_.cpu();
  const std::uint64_t own_before_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  const std::uint64_t start_ns = clock_ns();
  if (settings_.has_returns()) cuts_.next_ns = start_ns + to_ns(settings_.cut_every_s);
  publish(settings_.messages, settings_.seconds);
  report_.window_s = static_cast<double>(clock_ns() - start_ns) / 1e9;
  report_.server_cpu = server_.cpu() - cpu_before;
  report_.generator_us = static_cast<double>(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_before_ns) / 1e3;
  report_.messages = report_.last_subscriber.count();
  state_.is_over.store(1);
}

/// Publishes until `messages` are out or `seconds` are over (0: no such bound), then waits for the rest.
void Worker::publish(std::uint64_t messages, double seconds) {
  const std::uint64_t start_ns = clock_ns();
  const std::uint64_t first = state_.published.load();
  const std::uint64_t end_ns = seconds > 0 ? start_ns + to_ns(seconds) : ~0ULL;
  const std::uint64_t last = messages > 0 ? first + messages : ~0ULL;
  const bool has_rate = settings_.rate_per_s > 0;
  std::uint64_t published = first;
  for (bool is_over = false; !has_failed();) {
    const std::uint64_t now = clock_ns();
    std::uint64_t wait = wait_ns();
    is_over = is_over || published >= last || (now >= end_ns && !has_cuts_left());
    if (is_over && completed() == published) break;
    while (!is_over && published < last && has_room()) {
      // Latency counts from when the message was due, not from when a late generator got round to it.
      const std::uint64_t due_ns =
          has_rate ? start_ns + to_ns(static_cast<double>(published - first) / settings_.rate_per_s) : now;
      if (due_ns > now) {
        wait = std::min(wait, due_ns - now);
        break;
      }
      append_message(due_ns);
      ++published;
    }
    if (!publishing_.empty()) {
      for (Line& line : publishers_) send(line, publishing_);
      publishing_.clear();
    }
    turn(wait);
    retire_completed();
  }
}

bool Worker::has_room() const {
  const std::uint64_t published = state_.published.load(std::memory_order_relaxed);
  const std::uint64_t bound = settings_.rate_per_s > 0 ? kMostInFlight : settings_.in_flight;
  return published - completed() < bound && published - oldest_ < Board::kMessages;
}

/// Messages that every subscriber has, and the publisher's reply where that is waited for.
std::uint64_t Worker::completed() const {
  const std::uint64_t completed = state_.completed.load(std::memory_order_acquire);
  if (!settings_.awaits_replies || settings_.worker > 0) return completed;
  return std::min(completed, replies_ / publishers_.size());
}

bool Worker::is_in_window() const {
  return state_.is_measuring.load(std::memory_order_relaxed) != 0 &&
         state_.is_over.load(std::memory_order_relaxed) == 0;
}

void Worker::append_message(std::uint64_t due_ns) {
  const std::uint64_t number = state_.published.load(std::memory_order_relaxed);
  write_data(data_, number, settings_);
  const std::string channel = channel_name(settings_, number % settings_.channels);
  publisher_dialect_->append_publish(publishing_, channel, data_, number);
  board_.message(number).due_ns.store(due_ns, std::memory_order_relaxed);
  state_.published.store(number + 1, std::memory_order_release);
  if (settings_.connections == 0) state_.completed.fetch_add(1, std::memory_order_release);
}

void Worker::retire_completed() {
  const std::uint64_t published = state_.published.load(std::memory_order_relaxed);
  for (; oldest_ < published; ++oldest_) {
    std::atomic<std::uint64_t>& done = board_.message(oldest_).workers_done;
    if (done.load(std::memory_order_acquire) < workers_needed_[oldest_ % settings_.channels]) return;
    done.store(0, std::memory_order_relaxed);
  }
}

/// The part of a worker that does not publish.
void Worker::follow() {
  while (state_.is_measuring.load() == 0 && !has_failed()) turn(wait_ns());
  const std::uint64_t before_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
  while (state_.is_over.load() == 0 && !has_failed()) turn(wait_ns());
  report_.generator_us = static_cast<double>(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before_ns) / 1e3;
}

/// Idle connections cost something, too: their heartbeats.
void Worker::stay_idle() {
  const CpuTime cpu_before = server_.cpu();
  const std::uint64_t start_ns = clock_ns();
  const std::uint64_t end_ns = start_ns + to_ns(settings_.seconds);
  state_.measuring_since_ns.store(start_ns);
  state_.is_measuring.store(1);
  while (clock_ns() < end_ns && !has_failed()) turn(kWaitNs);
  report_.window_s = static_cast<double>(clock_ns() - start_ns) / 1e9;
  report_.server_cpu = server_.cpu() - cpu_before;
}

void Worker::finish() {
  const std::uint64_t end_ns = clock_ns() + kLingerNs;
  while (clock_ns() < end_ns && !has_failed()) turn(kNsPerS / 1000);
  // A run that was cut short says nothing of what had not come by then.
  if (!has_failed() || state_.is_stalled.load() != 0) {
    const std::uint64_t published = state_.published.load();
    for (std::uint64_t i = 0; i < share_.size() * settings_.channels_per_connection; ++i) {
      const std::uint64_t channel =
          (share_.first * settings_.channels_per_connection + i) % settings_.channels;
      checker_.end(i, (published + settings_.channels - 1 - channel) / settings_.channels);
    }
  }
  now_ns_ = clock_ns();
  for (Line& line : subscribers_) {
    if (line.stage == Line::Stage::live && report_.pings > 0) note_ping_gap(line);
  }
  report_.sequence = checker_.faults();
  report_.deliveries = report_.latency.count();
  report_.cuts.expected = state_.published.load() * settings_.connections / settings_.channels;
}

// ---- faults

void Worker::on_malformed(Line& /*line*/, std::string_view text) {
  ++report_.malformed;
  note_fault("malformed", text);
}

void Worker::on_refused(Line& line, std::string_view why) {
  if (comes_back(line)) return come_back_later(line);
  ++report_.refused;
  fail("refused", why);
}

void Worker::on_lost(Line& line, std::string_view why) {
  if (comes_back(line)) return come_back_later(line);
  ++report_.lost;
  if (line.fd >= 0) close(std::exchange(line.fd, -1));
  const bool is_connected = line.stage != Line::Stage::connecting;
  fail(!is_connected       ? "cannot connect"
       : line.is_publisher ? "the publisher is lost"
                           : "a connection is lost",
       why);
}

void Worker::fail(std::string_view what, std::string_view why) {
  note_fault(what, why);
  state_.is_failed.store(1);
}

void Worker::note_fault(std::string_view what, std::string_view text) {
  if (!report_.first_fault.empty()) return;
  report_.first_fault.append(what).append(": ").append(text.substr(0, 200));
}

}  // namespace carillon::load
