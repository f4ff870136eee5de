#include "sim/subscriber.hpp"

#include <algorithm>
#include <utility>

namespace carillon::sim {

Subscriber::Subscriber(Surroundings& surroundings, Judge& judge,
                       std::vector<std::unique_ptr<Gateway>>& gateways, std::string name,
                       std::vector<std::string> channels)
    : around_(surroundings),
      judge_(judge),
      chance_(surroundings.seed, name),
      gateways_(gateways),
      name_(std::move(name)),
      channels_(std::move(channels)) {}

Subscriber::~Subscriber() {
  if (wire_) wire_->peer = nullptr;
}

Subscriber::Position* Subscriber::position_of(const std::string& channel) {
  const auto found = positions_.find(channel);
  return found == positions_.end() ? nullptr : &found->second;
}

void Subscriber::send(std::string_view bytes) {
  if (wire_) around_.network.send_up(wire_, bytes);
}

void Subscriber::later(Micros delay_us, std::function<void()> task) {
  around_.time.after(delay_us, [this, connection = connection_, task = std::move(task)] {
    if (connection == connection_) task();
  });
}

void Subscriber::start_in(const std::string& channel, const Judge::Start& start) {
  failures_ = 0;
  judge_.on_start(name_, channel, start);
  positions_[channel] = {start.epoch, start.offset};
}

void Subscriber::take(const std::string& channel, std::uint64_t offset, const std::string& data) {
  judge_.on_publication(name_, channel, offset, data);
  positions_[channel].offset = offset;
}

// ---- the connection

void Subscriber::connect_in(Micros delay_us) {
  ++connection_;
  later(delay_us, [this] { connect(); });
}

void Subscriber::connect() {
  // A balancer sends it to one that serves, mostly; it may know nothing of the newest.
  std::vector<Gateway*> serving;
  for (const auto& each : gateways_) {
    if (each->is_serving() || chance_.percent(5)) serving.push_back(each.get());
  }
  if (serving.empty()) return reconnect(chance_.between(50'000, 300'000));
  Gateway& gateway = *serving[chance_.below(serving.size())];
  wire_ = around_.network.make(*this);
  around_.trace.add(name_, " connects to ", gateway.name());
  if (!gateway.accept(wire_)) {
    // Refused: nobody listens.
    around_.network.reset(wire_);
    return;
  }
  heard_us_ = around_.time.now_us();
  watch_silence();
  on_connected();
}

void Subscriber::watch_silence() {
  later(kSilenceUs / 3, [this] {
    if (around_.time.now_us() - heard_us_ > kSilenceUs) return reconnect(0);
    watch_silence();
  });
}

void Subscriber::hang_up() {
  pending_.clear();
  for (const std::string& channel : channels_) judge_.on_away(name_, channel);
  if (!wire_) return;
  if (wire_->peer != nullptr) around_.network.end_up(wire_);
  wire_.reset();
}

void Subscriber::reconnect(Micros delay_us) {
  hang_up();
  const auto longest = static_cast<std::int64_t>(100'000 * std::min<std::uint64_t>(++failures_, 10));
  connect_in(delay_us > 0 ? delay_us : chance_.between(20'000, 20'000 + longest));
}

void Subscriber::on_bytes(std::string_view bytes) {
  heard_us_ = around_.time.now_us();
  pending_.append(bytes);
  on_text(pending_);
}

void Subscriber::on_end() { reconnect(0); }

// ---- what happens to it

void Subscriber::leave_for(Micros us) {
  hang_up();
  connect_in(us);
}

void Subscriber::cut() {
  if (wire_) around_.network.reset(wire_);
}

void Subscriber::cut_off(Micros us) {
  if (wire_) around_.network.cut_off(wire_, us);
}

void Subscriber::stop_reading_for(Micros us) {
  if (!wire_) return;
  Network::stop_reading(wire_);
  around_.time.after(us, [this, wire = wire_] { around_.network.read_on(wire); });
}

void Subscriber::vanish() {
  if (!wire_) return;
  around_.network.vanish(wire_);
  reconnect(0);
}

}  // namespace carillon::sim
