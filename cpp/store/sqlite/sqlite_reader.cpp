#include "store/sqlite/sqlite_reader.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "store/entry_codec.hpp"
#include "store/sqlite/sqlite_schema.hpp"

namespace carillon {

SqliteReader::SqliteReader(SqliteFile& file, const SqliteGeneration& generation, const Clock& clock,
                           std::size_t waiting, SqliteThreads& threads)
    : file_(file),
      generation_(generation),
      clock_(clock),
      waiting_max_(waiting),
      threads_(threads),
      connection_(open_sqlite_connection(file.path(), file.vfs())) {
  prepare();
  file_.when_closing([this] {
    channel_ = {};
    forward_ = {};
    backward_ = {};
    connection_.close();
  });
  thread_ = threads_.start([this] { run(); });
}

void SqliteReader::prepare() {
  channel_ =
      connection_.prepare("SELECT id, epoch, generation, top, first, ttl_ms FROM channels WHERE name = ?1");
  forward_ = connection_.prepare(
      "SELECT offset, body FROM entries WHERE channel = ?1 AND offset BETWEEN ?2 AND ?3 ORDER BY offset");
  backward_ = connection_.prepare(
      "SELECT offset, body FROM entries WHERE channel = ?1 AND offset BETWEEN ?2 AND ?3 ORDER BY offset "
      "DESC");
}

StoreError SqliteReader::push(Read& read) {
  bool is_first = false;
  {
    const std::lock_guard lock(mutex_);
    if (is_stopped_) return StoreError::closed;
    if (waiting_.size() >= waiting_max_) return StoreError::overloaded;
    is_first = waiting_.empty();
    waiting_.push_back(std::move(read));
  }
  if (is_first) threads_.notify(is_due_);
  return StoreError::none;
}

void SqliteReader::stop() {
  {
    const std::lock_guard lock(mutex_);
    is_stopped_ = true;
  }
  threads_.notify(is_due_);
  if (thread_.joinable()) threads_.join(thread_);
}

void SqliteReader::run() {
  std::vector<Read> taken;
  for (;;) {
    bool is_stopped = false;
    {
      std::unique_lock lock(mutex_);
      threads_.wait(lock, is_due_, SqliteThreads::kForever,
                    [this] { return !waiting_.empty() || is_stopped_; });
      taken.swap(waiting_);
      is_stopped = is_stopped_;
    }
    for (const Read& read : taken) read.done(is_stopped ? Page{.error = StoreError::closed} : page_of(read));
    taken.clear();
    if (is_stopped) return;
  }
}

Page SqliteReader::page_of(const Read& read) {
  Page page;
  const auto use = file_.use();
  if (!connection_.is_open()) {
    try {
      connection_ = open_sqlite_connection(file_.path(), file_.vfs());
      prepare();
    } catch (const std::exception&) {
      page.error = StoreError::unavailable;
      return page;
    }
  }
  if (connection_.execute("BEGIN") != SQLITE_OK) {
    page.error = StoreError::unavailable;
    return page;
  }
  {
    const SqliteReset reset(channel_);
    const int code = channel_.bind(1, std::string_view(read.channel)).step();
    if (code == SQLITE_ROW) {
      page.top = {generation_.epoch_of(read.channel, channel_.text(1), channel_.number(2)),
                  channel_.count(3)};
      const Offset last = std::min(read.range.last, page.top.offset);
      if (!fill(page, read.range, channel_.number(0), channel_.count(4), last, channel_.number(5)))
        page = {.error = StoreError::unavailable};
    } else {
      page.error = code == SQLITE_DONE ? StoreError::not_held : StoreError::unavailable;
    }
  }
  static_cast<void>(connection_.execute("COMMIT"));
  return page;
}

bool SqliteReader::fill(Page& page, const ReadRange& range, std::int64_t channel, Offset first, Offset last,
                        Millis ttl_ms) {
  // An entry below `held` is not in the history any more, whether it is still in the table or not.
  Offset held = first;
  const Offset from = std::max({range.first, first, Offset{1}});
  const Millis now = clock_.wall_ms();
  std::size_t bytes = 0;
  SqliteStatement& select = range.is_backward ? backward_ : forward_;
  const SqliteReset reset(select);
  if (from <= last) {
    select.bind(1, channel).bind(2, from).bind(3, last);
    int code = select.step();
    for (; code == SQLITE_ROW; code = select.step()) {
      const Offset offset = select.count(0);
      const std::string_view body = select.bytes(1);
      const auto written_ms = wall_ms_of_entry(body);
      const bool is_expired = !written_ms || (ttl_ms > 0 && *written_ms + ttl_ms <= now);
      if (is_expired && !range.is_backward && page.entries.empty()) {
        held = offset + 1;
        continue;
      }
      page.has_more = page.entries.size() >= range.entries_max;
      if (page.has_more) break;
      std::shared_ptr<Entry> entry = is_expired && range.is_backward ? nullptr : decode_entry(body, offset);
      // Only entries with consecutive offsets make a page: a damaged one hides those before it.
      const Offset next = page.entries.empty() ? offset
                          : range.is_backward  ? page.entries.back()->offset - 1
                                               : page.entries.back()->offset + 1;
      if (!entry || offset != next) {
        held = offset + (range.is_backward || !entry ? 1 : 0);
        if (range.is_backward) break;
        page.entries.clear();
        bytes = 0;
        if (!entry) continue;
      }
      bytes += entry->cost_bytes();
      page.has_more = !page.entries.empty() && bytes > range.bytes_max;
      if (page.has_more) break;
      page.entries.push_back(std::move(entry));
    }
    if (code != SQLITE_ROW && code != SQLITE_DONE) return false;
  }
  if (range.is_backward) std::reverse(page.entries.begin(), page.entries.end());
  // What the page does not reach is not missed yet: the next one tells.
  const bool reaches_start = !range.is_backward || !page.has_more;
  if (reaches_start && range.first < held && std::max(range.first, Offset{1}) <= last) {
    if (std::max(range.first, Offset{1}) < held) page.error = StoreError::not_held;
  }
  return true;
}

}  // namespace carillon
