#include "store/redis/redis_cluster.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "store/redis/redis_keys.hpp"
#include "store/redis/redis_machine.hpp"

namespace carillon {

namespace {

constexpr std::size_t kNamesAtOnce = 500;

/// In a channel of a slot only the node of the slot tells what is announced: announcements of our channels.
bool is_channel_of_slot(std::string_view name) { return name.find('{') != std::string_view::npos; }

std::string text_of_address(const RedisAddress& address) {
  return address.host + ':' + std::to_string(address.port);
}

}  // namespace

/// A node with its machine and its link.
class RedisCluster::Node final : public RedisLinkEvents, private RedisMachineListener, private RedisRouter {
 public:
  Node(RedisCluster& cluster, RedisAddress at)
      : address(std::move(at)),
        machine(cluster.options_, cluster.clock_, cluster.random_),
        cluster_(cluster),
        link_(cluster.make_link_(address, *this)) {
    machine.set_link(link_.get());
    machine.set_listener(this);
    machine.set_router(this);
  }

  const RedisAddress address;
  RedisMachine machine;
  bool is_in_map = true;
  Millis left_ms = 0;       // since when it is not
  Millis subscribe_ms = 0;  // when to subscribe again, because that was refused; 0: never

 private:
  void on_link_up() override {
    machine.on_link_up();
    cluster_.on_event_();
  }
  void on_reply(RedisReply&& reply) override {
    machine.on_reply(std::move(reply));
    cluster_.on_event_();
  }
  void on_push(RedisReply&& push) override {
    if (push[0].text == kSubscriptionRefused) {
      cluster_.on_subscription_refused(*this, push[1].text);
    } else if (push[0].text == "sunsubscribe") {
      cluster_.on_subscription_ended(*this, push[1].text);
    } else {
      machine.on_push(std::move(push));
    }
    cluster_.on_event_();
  }
  void on_link_down(const std::string& reason) override {
    machine.on_link_down(reason);
    cluster_.on_node_lost();
    cluster_.on_event_();
  }
  void on_ready() override { cluster_.on_node_ready(*this); }
  void on_new_primary() override {
    if (cluster_.was_ready_) cluster_.listener_->on_new_primary();
  }
  void on_doubt() override {}
  void on_message(std::string_view channel, std::string_view message) override {
    cluster_.on_message(channel, message);
  }
  void on_elsewhere(RedisPendingRef pending, const std::string& error) override {
    cluster_.on_elsewhere(*this, std::move(pending), error);
  }
  void on_map_doubt() override { cluster_.want_map(); }

  RedisCluster& cluster_;
  std::unique_ptr<RedisLink> link_;
};

/// Asks one node once which node has which slot, over a link of its own: any node can be asked, also a
/// replica and one that is not known yet.
class RedisCluster::Question final : public RedisLinkEvents {
 public:
  Question(RedisCluster& cluster, RedisAddress address)
      : cluster_(cluster),
        address_(std::move(address)),
        deadline_ms_(cluster.clock_.now_ms() + kQuestionMs),
        link_(cluster.make_link_(address_, *this)) {}

  [[nodiscard]] bool is_over() const { return is_over_; }
  void tick() {
    if (!is_over_ && cluster_.clock_.now_ms() >= deadline_ms_)
      fail(text_of_address(address_) + " does not answer");
  }

 private:
  void on_link_up() override {
    const std::array<RedisCommand, 2> question{RedisCommand{"CLUSTER", "INFO"},
                                               RedisCommand{"CLUSTER", "SLOTS"}};
    link_->send(question);
  }
  void on_reply(RedisReply&& reply) override {
    if (is_over_) return;
    if (reply.is_error()) return fail(text_of_address(address_) + " answered: " + reply.text);
    if (!std::exchange(has_info_, true)) {
      // A node that the others have left may tell what was true before.
      if (reply.text.find("cluster_state:ok") == std::string::npos)
        fail(text_of_address(address_) + " says that the cluster is down");
      return;
    }
    is_over_ = true;
    cluster_.on_map(slot_ranges_of(reply, address_.host));
    cluster_.on_event_();
  }
  void on_push(RedisReply&& /*push*/) override {}
  void on_link_down(const std::string& reason) override {
    if (!is_over_) fail(reason);
  }
  void fail(const std::string& reason) {
    is_over_ = true;
    cluster_.on_question_in_vain(reason);
    cluster_.on_event_();
  }

  RedisCluster& cluster_;
  const RedisAddress address_;
  const Millis deadline_ms_;
  bool has_info_ = false;
  bool is_over_ = false;
  std::unique_ptr<RedisLink> link_;
};

RedisCluster::RedisCluster(const RedisOptions& options, const Clock& clock, RandomSource& random,
                           MakeLink make_link, std::function<void()> on_event)
    : options_(options),
      clock_(clock),
      random_(random),
      make_link_(std::move(make_link)),
      on_event_(std::move(on_event)),
      moving_(RedisKeys(options.prefix).of_all("moving")),
      slots_(kRedisSlots, nullptr) {
  subscriptions_[redis_slot_of(moving_)].insert(moving_);
}

RedisCluster::~RedisCluster() { close(); }

bool RedisCluster::is_ready() const {
  return was_ready_ && std::any_of(nodes_.begin(), nodes_.end(), [](const auto& each) {
           return each.second->is_in_map && each.second->machine.is_ready();
         });
}

bool RedisCluster::is_ready_for(std::string_view key) const {
  const Node* const node = slots_[redis_slot_of(key)];
  return was_ready_ && node != nullptr && node->machine.is_ready();
}

bool RedisCluster::are_all_ready() const {
  return std::all_of(nodes_.begin(), nodes_.end(), [](const auto& each) {
    return !each.second->is_in_map || each.second->machine.is_ready();
  });
}

std::size_t RedisCluster::waiting() const {
  std::size_t all = waiting_.size();
  for (const auto& [address, node] : nodes_) all += node->machine.waiting();
  return all;
}

const std::string& RedisCluster::trouble() const {
  for (const auto& [address, node] : nodes_) {
    if (node->is_in_map && !node->machine.trouble().empty()) return node->machine.trouble();
  }
  return map_trouble_;
}

Millis RedisCluster::pause() {
  const Millis whole = std::max<Millis>(options_.endpoint.retry_pause_ms, 2);
  return whole / 2 + static_cast<Millis>(random_.below(static_cast<std::uint64_t>(whole / 2)));
}

// ---- calls

void RedisCluster::call(RedisCall call) {
  auto pending = std::make_unique<RedisPending>();
  pending->call = std::move(call);
  if (is_closed_) return give_up(std::move(pending), StoreError::closed);
  if (waiting() >= options_.waiting_calls) return give_up(std::move(pending), StoreError::overloaded);
  const Millis deadline_ms = pending->call.deadline_ms;
  pending->deadline_ms = deadline_ms != 0 ? deadline_ms : clock_.now_ms() + options_.wait_ms;
  // A plain command has one key; PUBLISH has a name, whose home is where its key would be.
  pending->slot = redis_slot_of(pending->call.keys.empty() ? pending->call.words[1]
                                                           : std::string_view(pending->call.keys[0]));
  route(std::move(pending));
}

void RedisCluster::route(RedisPendingRef pending) {
  pending->is_asked = false;
  Node* const node = slots_[pending->slot];
  if (node != nullptr) return node->machine.carry(std::move(pending));
  wait(std::move(pending), 0);
}

void RedisCluster::wait(RedisPendingRef pending, Millis pause_ms) {
  if (options_.while_unavailable == WhileUnavailable::fail)
    return give_up(std::move(pending), StoreError::unavailable);
  pending->not_before_ms = clock_.now_ms() + pause_ms;
  waiting_.push_back(std::move(pending));
}

void RedisCluster::route_waiting() {
  const Millis now = clock_.now_ms();
  for (RedisPendingRef& each : std::exchange(waiting_, {})) {
    if (each->deadline_ms <= now) {
      give_up(std::move(each), StoreError::unavailable);
    } else if (each->not_before_ms > now) {
      waiting_.push_back(std::move(each));
    } else {
      route(std::move(each));
    }
  }
}

void RedisCluster::on_elsewhere(const Node& node, RedisPendingRef pending, const std::string& error) {
  const std::optional<RedisRedirection> redirection = redirection_of(error, node.address.host);
  ++pending->redirections;
  if (!redirection) {
    want_map();
    return wait(std::move(pending), pause());
  }
  Node& there = node_at(redirection->node);
  if (!redirection->is_asked) {
    move_slot(redirection->slot, &there);
    knows_ = redirection->node;
    want_map();
  }
  // Two nodes that name each other agree within moments.
  if (pending->redirections % kRedirections == 0) return wait(std::move(pending), pause());
  pending->is_asked = redirection->is_asked;
  there.machine.carry(std::move(pending));
}

// ---- subscriptions

void RedisCluster::tell(RedisCommand command) {
  const bool is_begin = command[0] == "SUBSCRIBE";
  // The names of a slot together: in one command there may be names of one slot only.
  std::map<std::uint16_t, RedisCommand> of_slots;
  for (std::size_t i = 1; i < command.size(); ++i) {
    const std::string_view name = command[i];
    const std::uint16_t slot = redis_slot_of(name);
    Names& names = subscriptions_[slot];
    const bool is_changed = is_begin ? names.emplace(name).second : names.erase(std::string(name)) > 0;
    if (names.empty()) subscriptions_.erase(slot);
    Node* const node = slots_[slot];
    if (!is_changed || node == nullptr || !node->machine.is_ready()) continue;
    if (!is_channel_of_slot(name)) {
      node->machine.tell(RedisCommand{command[0], name});
      continue;
    }
    RedisCommand& together = of_slots[slot];
    if (together.size() == 0) together.add(is_begin ? "SSUBSCRIBE" : "SUNSUBSCRIBE");
    together.add(name);
  }
  for (auto& [slot, together] : of_slots) slots_[slot]->machine.tell(std::move(together));
}

void RedisCluster::subscribe(Node& node, std::uint16_t slot) {
  const auto found = subscriptions_.find(slot);
  if (found == subscriptions_.end() || !node.machine.is_ready()) return;
  RedisCommand together{"SSUBSCRIBE"};
  for (const std::string& name : found->second) {
    if (!is_channel_of_slot(name)) {
      node.machine.tell(RedisCommand{"SUBSCRIBE", name});
      continue;
    }
    together.add(name);
    if (together.size() > kNamesAtOnce)
      node.machine.tell(std::exchange(together, RedisCommand{"SSUBSCRIBE"}));
  }
  if (together.size() > 1) node.machine.tell(std::move(together));
  has_doubt_ = true;
}

void RedisCluster::move_slot(std::uint16_t slot, Node* node) {
  Node* const before = std::exchange(slots_[slot], node);
  if (node != nullptr) node->is_in_map = true;
  if (before == node) return;
  const auto found = subscriptions_.find(slot);
  if (before != nullptr && found != subscriptions_.end()) {
    // Those of the slot have ended by themselves, or end.
    for (const std::string& name : found->second) {
      if (!is_channel_of_slot(name)) before->machine.tell(RedisCommand{"UNSUBSCRIBE", name});
    }
  }
  if (node == nullptr) return;
  lost_.erase(slot);
  subscribe(*node, slot);
}

void RedisCluster::on_subscription_ended(const Node& node, const std::string& name) {
  // Either it was asked for, or the slot has left this node.
  const std::uint16_t slot = redis_slot_of(name);
  const auto found = subscriptions_.find(slot);
  if (slots_[slot] != &node || found == subscriptions_.end() || !found->second.contains(name)) return;
  lost_.insert(slot);
  want_map();
}

void RedisCluster::on_subscription_refused(Node& node, const std::string& error) {
  want_map();
  const std::optional<RedisRedirection> redirection = redirection_of(error, node.address.host);
  if (redirection && !redirection->is_asked && slots_[redirection->slot] == &node) {
    knows_ = redirection->node;
    return move_slot(redirection->slot, &node_at(redirection->node));
  }
  if (!redirection) node.subscribe_ms = clock_.now_ms() + pause();  // it does not say for which slot
}

void RedisCluster::on_message(std::string_view channel, std::string_view message) {
  if (channel != moving_) return listener_->on_message(channel, message);
  std::size_t size = 0;
  const auto [end, error] = std::from_chars(message.data(), message.data() + message.size(), size);
  if (error != std::errc()) return;
  message.remove_prefix(static_cast<std::size_t>(end - message.data()));
  if (message.empty() || message.size() - 1 < size) return;
  listener_->on_message(message.substr(1, size), message.substr(1 + size));
}

// ---- nodes

RedisCluster::Node& RedisCluster::node_at(const RedisAddress& address) {
  std::unique_ptr<Node>& node = nodes_[text_of_address(address)];
  if (!node) {
    node = std::make_unique<Node>(*this, address);
    node->is_in_map = false;
    node->left_ms = clock_.now_ms();
  }
  return *node;
}

void RedisCluster::on_node_ready(Node& node) {
  for (const auto& [slot, names] : subscriptions_) {
    if (slots_[slot] == &node) subscribe(node, slot);
  }
  if (!was_ready_) return become_ready();
  has_doubt_ = false;  // this doubts everything
  listener_->on_ready();
}

void RedisCluster::become_ready() {
  if (was_ready_ || nodes_.empty() || !are_all_ready()) return;
  was_ready_ = true;
  has_doubt_ = false;
  listener_->on_ready();
}

void RedisCluster::on_node_lost() { want_map(); }

void RedisCluster::flush() {
  // The node that has ended them tells who has the slot.
  for (const std::uint16_t slot : std::exchange(lost_, {})) {
    if (slots_[slot] != nullptr) subscribe(*slots_[slot], slot);
  }
  if (was_ready_ && std::exchange(has_doubt_, false)) listener_->on_doubt();
  for (const auto& [address, node] : nodes_) node->machine.flush();
}

void RedisCluster::tick() {
  if (is_closed_) return;
  const Millis now = clock_.now_ms();
  if (question_) question_->tick();
  if (question_ && question_->is_over()) question_.reset();
  if (!question_ && now >= map_due_ms_) ask_map();
  for (auto each = nodes_.begin(); each != nodes_.end();) {
    Node& node = *each->second;
    node.machine.tick();
    if (node.subscribe_ms != 0 && node.subscribe_ms <= now) {
      node.subscribe_ms = 0;
      for (const auto& [slot, names] : subscriptions_) {
        if (slots_[slot] == &node) subscribe(node, slot);
      }
    }
    const bool is_over = !node.is_in_map && node.machine.waiting() == 0 && now - node.left_ms >= kLingerMs;
    each = is_over ? nodes_.erase(each) : std::next(each);
  }
  route_waiting();
}

void RedisCluster::close() {
  if (std::exchange(is_closed_, true)) return;
  question_.reset();
  for (RedisPendingRef& each : std::exchange(waiting_, {})) give_up(std::move(each), StoreError::closed);
  for (const auto& [address, node] : nodes_) node->machine.close();
  std::fill(slots_.begin(), slots_.end(), nullptr);
  nodes_.clear();
}

// ---- the map of slots

void RedisCluster::want_map() {
  // Many notice at the same time.
  map_due_ms_ = std::min(map_due_ms_, std::max(clock_.now_ms(), map_asked_ms_ + pause()));
}

std::vector<RedisAddress> RedisCluster::whom_to_ask(std::size_t& ready) const {
  std::vector<RedisAddress> all;
  for (const bool is_ready : {true, false}) {
    for (const auto& [address, node] : nodes_) {
      if (node->machine.is_ready() == is_ready) all.push_back(node->address);
    }
    if (is_ready) ready = all.size();
  }
  all.insert(all.end(), options_.endpoint.cluster_nodes.begin(), options_.endpoint.cluster_nodes.end());
  return all;
}

void RedisCluster::ask_map() {
  std::size_t ready = 0;
  const std::vector<RedisAddress> all = whom_to_ask(ready);
  RedisAddress whom = in_vain_ > 0 || ready == 0 ? all[in_vain_ % all.size()] : all[questions_ % ready];
  if (knows_) whom = *std::exchange(knows_, std::nullopt);
  ++questions_;
  map_asked_ms_ = clock_.now_ms();
  map_due_ms_ = map_asked_ms_ + kMapMs;
  question_ = std::make_unique<Question>(*this, std::move(whom));
}

void RedisCluster::on_question_in_vain(const std::string& reason) {
  said_ += (said_.empty() ? "" : "; ") + reason;
  std::size_t ready = 0;
  if (++in_vain_ < whom_to_ask(ready).size()) {
    map_due_ms_ = clock_.now_ms();
    return;
  }
  map_trouble_ = "no node of the cluster tells the slots: " + std::exchange(said_, {});
  in_vain_ = 0;
  map_due_ms_ = clock_.now_ms() + pause();
}

void RedisCluster::on_map(const std::vector<RedisSlotRange>& ranges) {
  if (ranges.empty()) return on_question_in_vain("the cluster has no slots");
  in_vain_ = 0;
  said_.clear();
  map_trouble_.clear();
  const Millis now = clock_.now_ms();
  for (const auto& [address, node] : nodes_) {
    if (std::exchange(node->is_in_map, false)) node->left_ms = now;
  }
  std::vector<Node*> slots(kRedisSlots, nullptr);
  for (const RedisSlotRange& range : ranges) {
    Node& node = node_at(range.primary);
    node.is_in_map = true;
    std::fill(slots.begin() + range.first, slots.begin() + range.last + 1, &node);
  }
  for (std::size_t slot = 0; slot < kRedisSlots; ++slot)
    move_slot(static_cast<std::uint16_t>(slot), slots[slot]);
  // What waits for a node that is away may have another one now.
  for (const auto& [address, node] : nodes_) {
    if (node->machine.is_ready()) continue;
    for (RedisPendingRef& each : node->machine.take_waiting()) route(std::move(each));
  }
  route_waiting();
  become_ready();
  const bool is_whole = are_all_ready();
  map_due_ms_ = now + (is_whole ? kMapMs / 2 + static_cast<Millis>(random_.below(kMapMs)) : 2 * pause());
}

}  // namespace carillon
