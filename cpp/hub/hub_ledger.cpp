// The ledger: what became of everything that was announced, collected from all shards and channels.
#include <map>
#include <mutex>
#include <utility>

#include "hub/hub.hpp"
#include "hub/receipt.hpp"

namespace carillon {

namespace {
// One turn's share: some 100 microseconds.
constexpr std::size_t kCursorsPerTurn = 1'024;
constexpr std::size_t kChannelsPerTurn = 512;
}  // namespace

struct Hub::LedgerWork {
  std::mutex mutex;  // guards what the shards add to
  std::map<std::string, LedgerRow, std::less<>> rows;
  std::size_t missing = 0;
  Ledger ledger;
  std::size_t rows_max = 0;
  LedgerFilter filter;
  std::size_t stripe = 0;   // whose channels' ended subscriptions are being added
  bool is_walking = false;  // it has begun
  std::function<void(Ledger)> done;

  LedgerRow& row_of(std::string_view channel) {
    const auto found = rows.find(channel);
    if (found != rows.end()) return found->second;
    return rows.emplace(channel, LedgerRow{.channel = std::string(channel)}).first->second;
  }
};

void Hub::ledger(std::function<void(Ledger)> done, std::size_t rows_max, LedgerFilter filter) {
  auto work = std::make_shared<LedgerWork>();
  work->rows_max = rows_max;
  work->filter = std::move(filter);
  work->done = std::move(done);
  {
    const std::lock_guard lock(ledger_mutex_);
    ledgers_.push_back(work);
    if (ledgers_.size() > 1) return;
  }
  start_ledger(work);
}

void Hub::start_ledger(const std::shared_ptr<LedgerWork>& work) {
  std::vector<Shard*> shards;
  {
    const std::lock_guard lock(shards_mutex_);
    shards = shards_;
  }
  work->missing = shards.size();
  if (shards.empty()) return finish_ledger(work);
  for (Shard* shard : shards) {
    auto receipt = std::make_shared<Receipt>([this, work](bool has_run) {
      bool is_last = false;
      {
        const std::lock_guard lock(work->mutex);
        if (!has_run) ++work->ledger.missing_shards;
        is_last = --work->missing == 0;
      }
      if (is_last) finish_ledger(work);
    });
    shard->run([shard, work, receipt = std::move(receipt)]() mutable {
      shard->begin_ledger();
      Shard::in_pieces([shard, work, receipt = std::move(receipt)] {
        std::vector<LedgerRow> rows;
        const bool has_more = shard->add_to_ledger(rows, kCursorsPerTurn, work->filter);
        {
          const std::lock_guard lock(work->mutex);
          for (const LedgerRow& row : rows) work->row_of(row.channel) += row;
        }
        if (!has_more) receipt->give(true);
        return has_more;
      });
    });
  }
}

void Hub::finish_ledger(const std::shared_ptr<LedgerWork>& work) {
  if (work->filter.is_for_all()) {
    const std::lock_guard lock(forgotten_mutex_);
    if (forgotten_.account.published > 0 || forgotten_.unbalanced > 0)
      work->ledger.add(forgotten_, work->rows_max);
  }
  auto receipt = std::make_shared<Receipt>([this, work](bool has_run) {
    while (!has_run && !finish_piece(*work)) {  // that thread has died; nothing of this is a shard's own
    }
    end_ledger(*work);
  });
  Shard::in_pieces([this, work, receipt = std::move(receipt)] {
    if (!finish_piece(*work)) return true;
    receipt->give(true);
    return false;
  });
}

bool Hub::finish_piece(LedgerWork& work) {
  if (add_ended_to_ledger(work)) return false;
  for (std::size_t left = kChannelsPerTurn; left > 0 && !work.rows.empty(); --left) {
    auto first = work.rows.extract(work.rows.begin());
    work.ledger.add(std::move(first.mapped()), work.rows_max);
  }
  return work.rows.empty();
}

bool Hub::add_ended_to_ledger(LedgerWork& work) {
  if (!work.filter.client.empty()) return false;  // the accounts of ended subscriptions are of nobody
  std::size_t left = kChannelsPerTurn;
  while (left > 0 && work.stripe < kStripes) {
    Stripe& stripe = stripes_[work.stripe];
    const std::lock_guard lock(stripe.mutex);
    if (!std::exchange(work.is_walking, true)) stripe.all.begin_walk();
    Channel* channel = nullptr;
    while (left > 0 && (channel = stripe.all.next()) != nullptr) {
      --left;
      const std::lock_guard channel_lock(channel->mutex);
      if (channel->ended.published == 0 && channel->unbalanced == 0) continue;
      if (!work.filter.has(channel->name)) continue;
      LedgerRow& row = work.row_of(channel->name);
      row.account += channel->ended;
      row.unbalanced += channel->unbalanced;
    }
    if (channel != nullptr) break;
    ++work.stripe;
    work.is_walking = false;
  }
  return work.stripe < kStripes;
}

void Hub::end_ledger(LedgerWork& work) {
  std::shared_ptr<LedgerWork> next;
  {
    const std::lock_guard lock(ledger_mutex_);
    ledgers_.pop_front();  // `work`, which the caller holds
    if (!ledgers_.empty()) next = ledgers_.front();
  }
  work.done(std::move(work.ledger));
  if (next) start_ledger(next);
}

}  // namespace carillon
