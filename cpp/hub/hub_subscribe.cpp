// How a subscription begins: its channel is opened, what it has missed is looked for here and then in the
// store, and its cursor starts where that leaves off.
#include <algorithm>
#include <optional>
#include <utility>

#include "env/planted_fault.hpp"
#include "hub/hub.hpp"

namespace carillon {

void Cursor::cancel() {
  if (!has_fault<PlantedFault::kept_ticket>()) forget_ticket();
}

/// A subscription on its way: first the channel must be open, then what was missed must be at hand.
struct Hub::PendingSubscribe {
  Shard& shard;
  std::shared_ptr<Cursor*> cursor;  // points to nothing once the cursor has gone
  std::shared_ptr<Channel> channel;
  std::optional<Since> since;
  SubscribeDone done;
  bool has_asked_top = false;
  StoredPageRef page = nullptr;  // with the first of what the log has no more
};

void Hub::subscribe(Shard& shard, Cursor& cursor, std::string_view name, const std::optional<Since>& since,
                    SubscribeDone done) {
  cursor.cancel();
  cursor.ticket_ = std::make_shared<Cursor*>(&cursor);
  auto pending = std::make_shared<PendingSubscribe>(
      PendingSubscribe{shard, cursor.ticket_, follow_channel(name), since, std::move(done)});
  when_followed(pending->channel,
                [this, pending] { run_on_shard(pending, [this, pending] { try_start(pending); }); });
}

namespace {

bool is_at_top(const Since& since, const Channel& channel) {
  return since.accepts(channel.epoch) && since.offset > 0 && since.offset == channel.log.top();
}

bool is_ahead(const Since& since, const Channel& channel) {
  return since.accepts(channel.epoch) && since.offset > channel.log.top();
}

/// Behind which offset the subscription wants to start, if the log still has what follows.
Offset wanted_start(const Since& since, const Channel& channel) {
  const Offset top = channel.log.top();
  switch (since.kind) {
    case Since::Kind::oldest:
      return 0;
    case Since::Kind::last:
      return top - std::min<Offset>(top, since.count);
    case Since::Kind::cache:
      if (is_at_top(since, channel) || is_ahead(since, channel)) return since.offset;
      return top - std::min<Offset>(top, 1);
    case Since::Kind::position:
      break;
  }
  if (since.accepts(channel.epoch)) return since.offset;
  return since.takes_what_is_kept ? 0 : top;
}

/// Does the page tell what follows `offset`?
bool is_page_for(const StoredPageRef& page, const Channel& channel, Offset offset) {
  return page && page->is_of(channel) && page->tells_of(offset + 1);
}

/// Behind an offset that the log has no more, a cursor counts as if every publication were still in front.
Seq seq_after(const ChannelLog& log, Offset offset) {
  if (const auto seq = log.seq_after(offset)) return *seq;
  const Offset in_log = log.history_from() - 1;
  return *log.seq_after(in_log) - (in_log - offset);
}

}  // namespace

void Hub::run_on_shard(const std::shared_ptr<PendingSubscribe>& pending, std::function<void()> task) {
  if (!is_closed_) pending->shard.run(std::move(task));  // else there is no shard any more
}

void Hub::try_start(const std::shared_ptr<PendingSubscribe>& pending) {
  if (*pending->cursor == nullptr) return;
  enum class Next : std::uint8_t { start, ask_top, ask_page, fail } next = Next::start;
  Offset wanted = 0;  // it starts behind it
  SubscribeOutcome result;
  {
    Channel& channel = *pending->channel;
    const std::lock_guard lock(channel.mutex);
    if (!channel.is_followed) {
      next = Next::fail;
    } else {
      channel.log.trim(clock_.now_ms(), channel.options(), channel.taken());
      result.has_history = channel.options().has_history();
      result.top = channel.log.top();
      const std::optional<Since>& since = pending->since;
      const bool is_position = since && since->is_position();
      const bool is_start_wanted = since && result.has_history;
      wanted = is_start_wanted ? wanted_start(*since, channel) : result.top;
      const Offset in_log = channel.log.history_from() - 1;  // what follows it is in the log
      const bool is_page_wanted = wanted < in_log && store_.keeps_entries();
      if (is_page_wanted && channel.pages && !is_page_for(pending->page, channel, wanted))
        pending->page = channel.pages->find(wanted + 1);
      // The hub may be behind the store: announcements are under way, perhaps those of an epoch it does not
      // know.
      const bool is_elsewhere = is_position && is_start_wanted && !since->accepts(channel.epoch) &&
                                since->epoch.is_set() && !channel.is_replaced(since->epoch) &&
                                store_.keeps_entries();
      if ((wanted > result.top || is_elsewhere) && !pending->has_asked_top) {
        next = Next::ask_top;
      } else if (is_page_wanted && !is_page_for(pending->page, channel, wanted)) {
        next = Next::ask_page;
      } else {
        // What follows it is at hand: the store has kept it together.
        Offset kept = in_log;
        if (is_page_wanted) kept = std::min(in_log, std::max(wanted + 1, pending->page->held_from()) - 1);
        const bool is_there = wanted >= kept && wanted <= result.top;
        Offset offset = is_there ? wanted : kept;
        if (is_position) {
          const bool is_same_log =
              since->accepts(channel.epoch) || has_fault<PlantedFault::recovered_across_epochs>();
          // A position ahead of the log is nobody's: what is kept may have been read.
          const bool is_ahead = wanted > result.top;
          if (!is_there && is_same_log && (is_ahead || !since->takes_what_is_kept)) offset = result.top;
          result.was_recovering = true;
          result.is_recovered = is_there && is_same_log && result.has_history;
          result.is_known = is_same_log ? !is_ahead : channel.is_replaced(since->epoch);
        } else if (is_start_wanted && since->kind == Since::Kind::cache) {
          if (!is_there) offset = std::max(kept, result.top - std::min<Offset>(result.top, 1));
          result.was_recovering = true;
          result.is_recovered = kept < result.top || is_at_top(*since, channel);
        } else if (is_start_wanted && since->kind == Since::Kind::oldest) {
          result.was_recovering = true;
          result.is_recovered = offset == 0;
        }
        result.start = {channel.epoch, offset};
        if (has_fault<PlantedFault::resumed_one_late>() && offset < result.top) ++offset;
        Cursor& cursor = **pending->cursor;
        cursor.ticket_.reset();
        if (offset < in_log) cursor.page_ = std::move(pending->page);
        pending->shard.attach(cursor, pending->channel, seq_after(channel.log, offset), offset);
      }
    }
  }
  switch (next) {
    case Next::start:
      if (pending->since && pending->since->is_position()) {
        (result.is_recovered ? recovered_ : not_recovered_).fetch_add(1, std::memory_order_relaxed);
      }
      return pending->done(result);
    case Next::fail:
      return try_start_again(pending, StoreError::unavailable);
    case Next::ask_top:
      return ask_top(pending);
    case Next::ask_page:
      return ask_page(pending, wanted + 1);
  }
}

void Hub::try_start_again(const std::shared_ptr<PendingSubscribe>& pending, StoreError error) {
  run_on_shard(pending, [this, pending, error] {
    if (error == StoreError::none || error == StoreError::not_held) return try_start(pending);
    if (Cursor* cursor = *pending->cursor; cursor != nullptr) {
      cursor->ticket_.reset();
      SubscribeOutcome failed;
      failed.error = error;
      pending->done(failed);
    }
  });
}

void Hub::ask_top(const std::shared_ptr<PendingSubscribe>& pending) {
  pending->has_asked_top = true;
  store_.top(pending->channel->name, [this, pending](const TopResult& result) {
    if (result.error != StoreError::none) return try_start_again(pending, result.error);
    {
      const std::lock_guard lock(pending->channel->mutex);
      if (result.top.epoch != pending->channel->epoch) believe(*pending->channel, result.top);
    }
    read_up_to(pending, result.top);
  });
}

/// The publications up to the store's top that have not been announced yet.
void Hub::read_up_to(const std::shared_ptr<PendingSubscribe>& pending, const Position& top) {
  ReadRange range{.last = top.offset, .entries_max = limits_.page_entries, .bytes_max = limits_.page_bytes};
  {
    const std::lock_guard lock(pending->channel->mutex);
    range.first = pending->channel->log.top() + 1;
    const bool is_same_log = top.epoch == pending->channel->epoch;
    if (!is_same_log || range.last < range.first || range.last < pending->since->offset) range.last = 0;
  }
  if (range.last == 0) return try_start_again(pending, StoreError::none);  // it is there by now, or never was
  read(pending->channel, range, [this, pending, top, range](const Page& page) {
    bool is_taken = page.error == StoreError::none;
    {
      Channel& channel = *pending->channel;
      const std::lock_guard lock(channel.mutex);
      // What this hub has missed has left the store in part: the log goes on behind it, and cursors before
      // that get a gap.
      const bool is_so_far = page.top.epoch == channel.epoch && channel.log.top() + 1 == range.first;
      if (page.error == StoreError::not_held && is_so_far) {
        reset(channel, channel.epoch, page.entries.empty() ? top.offset : page.entries.front()->offset - 1);
        is_taken = true;
      }
      if (is_taken) accept_read(channel, page);
      if (page.error == StoreError::not_held && is_taken) {
        append_early(channel);
        wake_shards(channel);
      }
    }
    if (is_taken && page.has_more) return read_up_to(pending, top);
    try_start_again(pending, page.error);
  });
}

void Hub::ask_page(const std::shared_ptr<PendingSubscribe>& pending, Offset offset) {
  const auto then = [this, pending](StoreError error, const StoredPageRef& page) {
    run_on_shard(pending, [this, pending, error, page] {
      pending->page = page;
      try_start_again(pending, error);
    });
  };
  fetch_page(pending->channel, {offset, false, then});
}

}  // namespace carillon
