#include "session/outgoing.hpp"

#include <algorithm>
#include <cstring>

#include "env/planted_fault.hpp"

namespace carillon {

namespace {
constexpr std::size_t kBlockBytes = 64 * 1024;
constexpr std::size_t kFirstSlices = 256;
constexpr Millis kOldestMs = 3'600'000;

/// Of a publication by the clock of another machine, which may be far from this one's.
Millis age_of(Millis wall_ms, Millis now_wall_ms) {
  return std::min(now_wall_ms - std::clamp<Millis>(wall_ms, 0, now_wall_ms), kOldestMs);
}
}  // namespace

bool TurnOutput::add_slowly(Outlet& outlet, Cursor& cursor, const Batch& batch, const Layout& layout) {
  add(outlet, cursor, batch.lay_out(layout));
  return true;
}

void TurnOutput::grow() {
  const std::size_t used = slices_.size();  // all of them
  std::vector<Slice> larger(std::max(kFirstSlices, 2 * used));
  std::copy(slices_.begin(), slices_.end(), larger.begin());
  // Lists and outlets point at the same places in the new one.
  const auto moved = [&](const Slice* slice) { return larger.data() + (slice - slices_.data()); };
  for (Slice& slice : std::span(larger.data(), used)) {
    if (slice.next != nullptr) slice.next = moved(slice.next);
    if (slice.outlet != nullptr) slice.outlet->last_slice = moved(slice.outlet->last_slice);
  }
  slices_.swap(larger);
  end_ = slices_.data() + used;
  room_end_ = slices_.data() + slices_.size();
}

void TurnOutput::add(Outlet& outlet, std::string_view bytes) {
  if (bytes.empty() || outlet.is_closing) return;
  if (outlet.is_clogged) return keep(outlet, bytes);
  outlet.own_bytes += bytes.size();
  if (blocks_.empty() || block_used_ + bytes.size() > block_bytes_) {
    block_bytes_ = std::max(kBlockBytes, bytes.size());
    blocks_.push_back(std::make_unique<char[]>(block_bytes_));
    block_used_ = 0;
  }
  char* place = blocks_.back().get() + block_used_;
  std::memcpy(place, bytes.data(), bytes.size());
  block_used_ += bytes.size();
  if (outlet.last_slice != nullptr && outlet.last_slice->cursor == nullptr &&
      outlet.last_slice->encoded == &own_batches_.back()) {  // replies that follow one another are one slice
    std::string_view& last = own_batches_.back().bytes;
    if (last.data() + last.size() == place) {
      last = {last.data(), last.size() + bytes.size()};
      return;
    }
  }
  own_batch().bytes = {place, bytes.size()};
  if (end_ == room_end_) grow();
  append(outlet, nullptr, own_batches_.back());
}

void TurnOutput::keep(Outlet& outlet, std::string_view bytes) {
  if (!outlet.unsent) outlet.unsent = std::make_unique<UnsentBytes>(unsent_);
  if (has_fault<PlantedFault::short_unsent>()) bytes.remove_suffix(1);
  outlet.unsent->append(bytes);
}

EncodedBatch& TurnOutput::own_batch() { return own_batches_.emplace_back(); }

void TurnOutput::forget(const Session& session) {
  std::replace(finishing_.begin(), finishing_.end(), const_cast<Session*>(&session),
               static_cast<Session*>(nullptr));
}

void TurnOutput::account_part(const Slice& first, std::size_t taken, Millis now_ms) {
  Outlet& outlet = *first.outlet;
  outlet.progress_ms = now_ms;
  outlet.is_clogged = true;
  for (const Slice* slice = &first; slice != nullptr; slice = slice->next) {
    const std::size_t part = std::min(taken, slice->bytes().size());
    account_cut(outlet, *slice, part);
    taken -= part;
  }
  outlet.last_slice = nullptr;
  outlet.own_bytes = 0;
}

void TurnOutput::account_cut(Outlet& outlet, const Slice& slice, std::size_t taken) {
  const std::string_view bytes = slice.bytes();
  if (slice.cursor == nullptr) {
    if (taken < bytes.size()) keep(outlet, bytes.substr(taken));
    return;
  }
  const Batch& batch = *slice.encoded->batch;
  if (Shard::stands_before(*slice.cursor, batch.end()))
    return;  // an earlier slice gave this one back already
  const std::uint32_t entries = batch.size();
  std::size_t begin = 0;
  std::uint32_t next = 0;  // first entry that stays with the cursor
  for (; next < entries; ++next) {
    const std::size_t end = slice.encoded->ends.empty() ? bytes.size() : slice.encoded->ends[next];
    if (batch.is_conflated(next)) {
      slice.cursor->count_conflated(1);
    } else if (end == begin) {
      shard_.count_dropped(*slice.cursor, DropReason::filtered, 1);
    } else if (end <= taken) {
      slice.cursor->count_delivered(1);
      deliveries_.add(slice.encoded->layout->transport, 1, end - begin);
    } else if (begin < taken) {
      keep(outlet, bytes.substr(taken, end - taken));
      deliveries_.add(slice.encoded->layout->transport, 0, end - begin);  // its number when its end is sent
      slice.cursor->set_under_way(slice.cursor->under_way() + 1);
      ++next;
      break;
    } else {
      break;
    }
    begin = end;
  }
  if (next < entries && !has_fault<PlantedFault::skipped_rewind>(10)) {
    shard_.rewind_to(*slice.cursor, batch.begin() + next, batch.offset_before(next));
  }
}

std::uint32_t TurnOutput::count_sent(const EncodedBatch& encoded) {
  const std::uint32_t times = std::exchange(encoded.sent, 0);
  if (times == 0) return 0;
  deliveries_.add(encoded.layout->transport, std::uint64_t{times} * encoded.frames,
                  std::uint64_t{times} * encoded.bytes.size());
  shard_.count_dropped(DropReason::filtered, std::uint64_t{times} * encoded.filtered);
  return encoded.frames > 0 ? times : 0;
}

void TurnOutput::count_sent(const Clock& machine) {
  const std::int64_t now_ns = shard_.staged().empty() ? 0 : machine.now_ns();
  for (const auto& [batch, is_live] : shard_.staged()) {
    std::uint64_t times = batch->take_sent_alone();
    for (const EncodedBatch* each = &batch->first_encoded(); each != nullptr; each = each->next.get())
      times += count_sent(*each);
    if (times == 0) continue;
    deliveries_.batch_publications.observe(batch->size(), times);
    if (!is_live) continue;
    for (std::uint32_t i = 0; i < batch->size(); ++i) {
      const Entry& entry = *batch->entries()[i];
      if (entry.kind != EntryKind::publication || batch->is_conflated(i)) continue;
      // Of another gateway's publication only the time of day is known, to the millisecond.
      const std::int64_t age_ns = entry.taken_ns != 0 ? now_ns - entry.taken_ns
                                                      : age_of(entry.wall_ms, machine.wall_ms()) * 1'000'000;
      deliveries_.publish_to_socket.observe_ns(age_ns, times);
    }
  }
}

void TurnOutput::clear() {
  end_ = slices_.data();
  for (const EncodedBatch& own : own_batches_) {
    if (count_sent(own) > 0) own.batch->count_sent_alone();
  }
  own_batches_.clear();
  if (blocks_.size() > 1) {  // one block stays for the next turn, unless it was made for something large
    blocks_.resize(1);
    block_bytes_ = 0;
  }
  if (block_bytes_ != kBlockBytes) blocks_.clear();
  block_used_ = 0;
}

}  // namespace carillon
