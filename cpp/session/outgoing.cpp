#include "session/outgoing.hpp"

#include <algorithm>
#include <cstring>

namespace carillon {

namespace {
constexpr std::size_t kBlockBytes = 64 * 1024;
constexpr std::uint32_t kFirstSlices = 256;
}  // namespace

void TurnOutput::add_slowly(Outlet& outlet, Cursor& cursor, const Batch& batch, const Form& form) {
  add(outlet, cursor, batch.lay_out(form));
}

void TurnOutput::grow() {
  room_ = std::max(kFirstSlices, 2 * room_);
  slices_.resize(room_);
  outlets_.resize(room_);
}

void TurnOutput::add(Outlet& outlet, std::string_view bytes) {
  if (bytes.empty() || outlet.is_closing) return;
  if (outlet.is_clogged) {
    if (!outlet.rest) outlet.rest = std::make_unique<std::string>();
    outlet.rest->append(bytes);
    return;
  }
  outlet.own_bytes += bytes.size();
  if (blocks_.empty() || block_used_ + bytes.size() > block_bytes_) {
    block_bytes_ = std::max(kBlockBytes, bytes.size());
    blocks_.push_back(std::make_unique<char[]>(block_bytes_));
    block_used_ = 0;
  }
  char* place = blocks_.back().get() + block_used_;
  std::memcpy(place, bytes.data(), bytes.size());
  block_used_ += bytes.size();
  if (outlet.last_slice >= 0) {  // replies that follow one another are one slice
    Slice& last = slices_[static_cast<std::size_t>(outlet.last_slice)];
    if (last.cursor == nullptr && last.data + last.bytes == place) {
      last.bytes += static_cast<std::uint32_t>(bytes.size());
      return;
    }
  }
  if (slice_count_ == room_) grow();
  append(outlet, {place, static_cast<std::uint32_t>(bytes.size()), -1, nullptr, nullptr});
}

EncodedBatch& TurnOutput::own_batch() {
  own_batches_.push_back(std::make_unique<EncodedBatch>());
  return *own_batches_.back();
}

void TurnOutput::forget(const Session& session) {
  std::replace(finishing_.begin(), finishing_.end(), const_cast<Session*>(&session),
               static_cast<Session*>(nullptr));
}

void TurnOutput::account_part(Outlet& outlet, std::size_t taken, Millis now_ms) {
  if (!outlet.is_clogged || taken > 0) outlet.progress_ms = now_ms;
  outlet.is_clogged = true;
  for (std::int32_t i = outlet.first_slice; i >= 0;) {
    const Slice& slice = slices_[static_cast<std::size_t>(i)];
    const std::size_t part = std::min<std::size_t>(taken, slice.bytes);
    account_cut(outlet, slice, part);
    taken -= part;
    i = slice.next;
  }
  outlet.first_slice = outlet.last_slice = -1;
  outlet.own_bytes = 0;
}

void TurnOutput::account_cut(Outlet& outlet, const Slice& slice, std::size_t taken) {
  const auto keep = [&outlet](std::string_view bytes) {
    if (!outlet.rest) outlet.rest = std::make_unique<std::string>();
    outlet.rest->append(bytes);
  };
  if (slice.cursor == nullptr) {
    if (taken < slice.bytes) keep({slice.data + taken, slice.bytes - taken});
    return;
  }
  const Batch& batch = *slice.encoded->batch;
  if (Shard::stands_before(*slice.cursor, batch.end()))
    return;  // an earlier slice gave this one back already
  const std::uint32_t entries = batch.size();
  std::uint32_t begin = 0;
  std::uint32_t next = 0;  // first entry that stays with the cursor
  for (; next < entries; ++next) {
    const std::uint32_t end = slice.encoded->ends.empty() ? slice.bytes : slice.encoded->ends[next];
    if (end == begin) {
      slice.cursor->count_dropped(DropReason::filtered, 1);
    } else if (end <= taken) {
      slice.cursor->count_delivered(1);
    } else if (begin < taken) {
      keep({slice.data + taken, end - taken});
      slice.cursor->set_under_way(slice.cursor->under_way() + 1);
      ++next;
      break;
    } else {
      break;
    }
    begin = end;
  }
  if (next < entries) {
    shard_.rewind_to(*slice.cursor, batch.begin() + next, batch.offset_before(next));
  }
}

void TurnOutput::clear() {
  slice_count_ = outlet_count_ = 0;
  own_batches_.clear();
  if (blocks_.size() > 1) {  // one block stays for the next turn, unless it was made for something large
    blocks_.resize(1);
    block_bytes_ = 0;
  }
  if (block_bytes_ != kBlockBytes) blocks_.clear();
  block_used_ = 0;
}

}  // namespace carillon
