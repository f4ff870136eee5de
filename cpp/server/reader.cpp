#include "server/reader.hpp"

#include <utility>

namespace carillon {

Reader::Reader(Hub& hub, Shard& shard, std::shared_ptr<ReaderQueue> queue, std::uint64_t subscription,
               std::string channel, std::function<void()> abandoned)
    : hub_(hub),
      shard_(shard),
      queue_(std::move(queue)),
      subscription_(subscription),
      channel_(std::make_shared<const std::string>(std::move(channel))),
      abandoned_(std::move(abandoned)),
      cursor_(*this) {}

Reader::~Reader() = default;

bool Reader::push(ReaderItem::Kind kind, ReaderItem item) {
  item.kind = kind;
  item.subscription = subscription_;
  if (queue_->push(std::move(item))) return true;
  // Not at once: its cursor may be in the middle of a batch.
  if (!is_closed_ && !std::exchange(is_abandoned_, true))
    shard_.post([me = shared_from_this()] { me->abandoned_(); });
  return false;
}

void Reader::open(const std::optional<Since>& since) {
  shard_.run([me = shared_from_this(), since] {
    if (me->is_closed_) return;
    me->hub_.subscribe(me->shard_, me->cursor_, *me->channel_, since, [me](const SubscribeOutcome& outcome) {
      ReaderItem status;
      if (outcome.error != StoreError::none) {
        me->push(ReaderItem::Kind::failed);
        return;
      }
      status.is_recovered = outcome.recovered();
      status.is_conflated = me->hub_.options_for(*me->channel_).conflate;
      if (outcome.has_history) {
        status.epoch = outcome.start.epoch;
        status.offset = outcome.start.offset;
      }
      me->push(ReaderItem::Kind::status, std::move(status));
    });
  });
}

void Reader::close() {
  shard_.run([me = shared_from_this()] {
    if (std::exchange(me->is_closed_, true)) return;
    me->cursor_.cancel();
    me->shard_.unsubscribe(me->cursor_);
    me->push(ReaderItem::Kind::closed);
  });
}

bool Reader::stage(Cursor& cursor, const Batch& batch) {
  if (is_waiting_) return false;
  if (queue_->room() < batch.size()) {
    wait_for_room();
    return false;
  }
  for (std::uint32_t i = 0; i < batch.size(); ++i) {
    const EntryRef& entry = batch.entries()[i];
    if (batch.is_conflated(i)) {
      cursor.count_conflated(1);
      continue;
    }
    if (entry->kind != EntryKind::publication) {
      shard_.count_dropped(cursor, DropReason::filtered, 1);
      continue;
    }
    ReaderItem item;
    item.entry = entry;
    item.channel = channel_;
    item.epoch = batch.epoch();
    if (push(ReaderItem::Kind::publication, std::move(item))) {
      cursor.count_delivered(1);
      shard_.count_delivered_in_process(1);
    } else {
      cursor.set_under_way(cursor.under_way() + 1);  // the queue is closed: returned with the cursor
    }
  }
  return true;
}

void Reader::wait_for_room() {
  is_waiting_ = true;
  queue_->when_room([weak = weak_from_this()] {
    if (const auto me = weak.lock()) {
      me->shard_.post([me] {
        me->is_waiting_ = false;
        me->shard_.resume(me->cursor_);
      });
    }
  });
}

void Reader::on_gap(Cursor& /*cursor*/, const Gap& gap) {
  ReaderItem item;
  item.epoch = gap.position.epoch;
  item.lost_from = gap.lost_from;
  item.lost_to = gap.lost_to;
  push(ReaderItem::Kind::gap, std::move(item));
}

}  // namespace carillon
