#include "store/redis/redis_gateways.hpp"

#include <algorithm>
#include <utility>

namespace carillon {

namespace {
std::string new_name(RandomSource& random) { return std::string(Epoch::from_bits(random.next()).text()); }
}  // namespace

RedisGateways::RedisGateways(const RedisOptions& options, const RedisKeys& keys, std::string gateway,
                             RedisCarrier& machine, const Clock& clock, RandomSource& random)
    : options_(options),
      keys_(keys),
      machine_(machine),
      clock_(clock),
      random_(random),
      gateway_(std::move(gateway)),
      id_(new_name(random)),
      names_(' ' + id_ + ' ') {}

RedisCall RedisGateways::call_of(std::string_view what) const {
  RedisCall call;
  call.script = RedisScript::gateway_beat;
  call.keys = {keys_.of_all("gateways")};
  call.words.add(kLifetimeMs).add(id_).add(gateway_ + ' ' + options_.version).add(options_.dead_ms).add(what);
  return call;
}

void RedisGateways::on_ready() {
  is_under_way_ = false;
  beat();
}

void RedisGateways::tick() {
  if (machine_.is_ready() && clock_.now_ms() >= next_ms_) beat();
}

void RedisGateways::beat() {
  if (is_under_way_ || has_left_) return;
  is_under_way_ = true;
  next_ms_ = clock_.now_ms() + options_.heartbeat_ms;
  if (!is_registered_) claim_layout();
  RedisCall call = call_of(is_registered_ ? "beat" : "new");
  call.is_write = true;
  call.done = [this, id = id_, was_registered = is_registered_, asked_ms = clock_.now_ms()](
                  StoreError error, const RedisReply& reply) {
    if (id != id_) return;  // its name until then
    is_under_way_ = false;
    if (error != StoreError::none) {
      next_ms_ = clock_.now_ms() + options_.heartbeat_ms / 4;
      return;
    }
    note_time({reply[1].number(), asked_ms, clock_.now_ms()});
    note(reply);
    if (reply[0].text == "gone") {
      rename();
      return beat();
    }
    is_registered_ = true;
    alive_until_ms_ = reply[1].number() + options_.dead_ms;
    on_beat_(!was_registered);
  };
  machine_.call(std::move(call));
}

void RedisGateways::note_time(const Seen& seen) {
  // An answer that was slow, as behind a Redis that hung, says less than the one before it: with a doubt as
  // long as a deadline, everything would be too late until the next sign of life.
  // But clocks drift, and an old answer says less with each second.
  const auto doubt_now_ms = [&] {
    return seen_->doubt_ms() + (seen.heard_ms - seen_->heard_ms) / kDriftParts;
  };
  if (!seen_ || seen.doubt_ms() <= std::max(doubt_now_ms(), kSureMs)) seen_ = seen;
}

std::optional<SharedTime> RedisGateways::time() const {
  if (!seen_) return std::nullopt;
  // Redis answered between the two, and nobody knows when.
  const Millis now = clock_.now_ms();
  return SharedTime{.earliest_ms = seen_->redis_ms + now - seen_->heard_ms,
                    .latest_ms = seen_->redis_ms + now - seen_->asked_ms};
}

void RedisGateways::claim_layout() {
  RedisCall call;
  call.words = RedisCommand{"SET", keys_.layout(), RedisKeys::kLayout, "NX"};
  call.is_write = true;
  call.done = [](StoreError /*error*/, const RedisReply& /*reply*/) {};
  machine_.call(std::move(call));
}

void RedisGateways::rename() {
  id_ = new_name(random_);
  names_.insert(0, ' ' + id_);
  names_.resize(std::min(names_.size(), kNames * (1 + id_.size()) + 1));
  is_registered_ = false;
  is_under_way_ = false;
  next_ms_ = 0;
  seen_.reset();  // another Redis may have another clock
}

void RedisGateways::look(Millis deadline_ms, std::function<void(StoreError)> done) {
  RedisCall call = call_of("list");
  call.deadline_ms = deadline_ms;
  call.done = [this, done = std::move(done)](StoreError error, const RedisReply& reply) {
    if (error == StoreError::none) note(reply);
    done(error);
  };
  machine_.call(std::move(call));
}

void RedisGateways::note(const RedisReply& reply) {
  alive_.clear();
  dead_.clear();
  records_.clear();
  ++looks_;
  const Millis now = reply[1].number();
  for (std::size_t i = 2; i + 2 < reply.items.size(); i += 3) {
    const std::string& names = reply[i + 2].text;
    const std::size_t blank = std::min(names.find(' '), names.size());
    GatewayRecord record{names.substr(0, blank), reply[i].text};
    // A neighbouring version may write more behind it.
    if (blank < names.size())
      record.version = names.substr(blank + 1, names.find(' ', blank + 1) - blank - 1);
    const Millis beat = reply[i + 1].number();
    record.heartbeat_age_ms = now - beat;
    record.has_left = beat == 0;
    record.is_alive = record.heartbeat_age_ms < options_.dead_ms;
    (record.is_alive ? alive_ : dead_).insert(record.owner);
    records_.push_back(std::move(record));
  }
}

void RedisGateways::leave() {
  if (std::exchange(has_left_, true) || !is_registered_) return;
  RedisCall call = call_of("leave");
  call.is_write = true;
  call.done = [](StoreError /*error*/, const RedisReply& /*reply*/) {};
  machine_.call(std::move(call));
}

void RedisGateways::forget(const std::string& gateway) {
  dead_.erase(gateway);
  RedisCall call;
  call.words = RedisCommand{"HDEL", keys_.of_all("gateways"), gateway};
  call.is_write = true;
  call.is_for_this_link = true;
  call.done = [](StoreError /*error*/, const RedisReply& /*reply*/) {};
  machine_.call(std::move(call));
}

}  // namespace carillon
