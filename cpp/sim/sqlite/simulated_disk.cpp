#include "sim/sqlite/simulated_disk.hpp"

#include <algorithm>
#include <utility>

namespace carillon::sim {

namespace {
constexpr std::size_t kSector = 512;  // is on the disk as a whole, or not at all
}

SimulatedDisk::File& SimulatedDisk::file(std::string_view name) {
  const auto found = files_.find(name);
  return found != files_.end() ? found->second : files_.try_emplace(std::string(name)).first->second;
}

bool SimulatedDisk::fails(std::uint64_t percent) {
  if (time_.now_us() >= failing_until_us_ || !chance_.percent(percent)) return false;
  ++failures_;
  return true;
}

void SimulatedDisk::apply(std::string& content, const File::Change& change) {
  if (change.is_cut) {
    content.resize(std::min(content.size(), change.offset));
    return;
  }
  content.resize(std::max(content.size(), change.offset + change.bytes.size()));
  content.replace(change.offset, change.bytes.size(), change.bytes);
}

/// What was written again is to be synced again.
void SimulatedDisk::supersede(File& file, const File::Change& change) {
  std::vector<File::Change> rest;
  bool is_changed = false;
  for (File::Change& old : file.changes) {
    const std::size_t old_end = old.offset + old.bytes.size();
    const std::size_t end = change.is_cut ? SIZE_MAX : change.offset + change.bytes.size();
    if (!old.is_doubtful || old.is_cut || old_end <= change.offset || end <= old.offset) {
      rest.push_back(std::move(old));
      continue;
    }
    is_changed = true;
    if (old.offset < change.offset)
      rest.push_back({old.offset, old.bytes.substr(0, change.offset - old.offset), false, true});
    if (end < old_end) rest.push_back({end, old.bytes.substr(end - old.offset), false, true});
  }
  if (is_changed || rest.size() == file.changes.size()) file.changes = std::move(rest);
}

SimulatedDisk::Outcome SimulatedDisk::write(File& file, std::size_t offset, std::string_view bytes) {
  if (time_.now_us() < full_until_us_ && offset + bytes.size() > file.now.size()) {
    ++failures_;
    return Outcome::full;
  }
  const bool has_failed = fails(25);
  if (has_failed)
    bytes = bytes.substr(0, bytes.size() <= kSector ? 0 : chance_.below(bytes.size() / kSector) * kSector);
  File::Change change{offset, std::string(bytes)};
  if (!bytes.empty()) {
    supersede(file, change);
    apply(file.now, change);
    file.changes.push_back(std::move(change));
  }
  return has_failed ? Outcome::failed : Outcome::done;
}

SimulatedDisk::Outcome SimulatedDisk::truncate(File& file, std::size_t size) {
  File::Change change{size, {}, true};
  supersede(file, change);
  apply(file.now, change);
  file.changes.push_back(std::move(change));
  return Outcome::done;
}

SimulatedDisk::Outcome SimulatedDisk::sync(File& file) {
  if (bug_ == Bug::sync_writes_nothing) return Outcome::done;
  if (fails(40)) {
    for (File::Change& change : file.changes) change.is_doubtful = !change.is_cut;
    return bug_ == Bug::sync_error_hidden ? Outcome::done : Outcome::failed;
  }
  std::vector<File::Change> doubtful;
  for (File::Change& change : file.changes) {
    if (change.is_doubtful) {
      doubtful.push_back(std::move(change));
    } else {
      apply(file.durable, change);
    }
  }
  file.changes = std::move(doubtful);
  return Outcome::done;
}

void SimulatedDisk::remove(std::string_view name) {
  // Its name goes to the disk with the next sync of the folder, which SQLite asks for where it matters.
  const auto found = files_.find(name);
  if (found == files_.end()) return;
  if (found->second.handles == 0) {
    files_.erase(found);
  } else {
    static_cast<void>(truncate(found->second, 0));
  }
}

void SimulatedDisk::cut_power() {
  if (bug_ != Bug::boot_not_noticed) ++boots_;
  for (bool* const is_ended : ways_) *is_ended = true;
  full_until_us_ = failing_until_us_ = slow_until_us_ = 0;
  // The disk has written everything, nothing, or some of it.
  const std::uint64_t kind = chance_.below(4);
  std::size_t kept = 0;
  std::size_t lost = 0;
  for (auto& [name, file] : files_) {
    for (File::Change& change : file.changes) {
      const bool is_whole = kind == 0 || (kind > 1 && chance_.percent(40));
      const bool is_torn = kind > 1 && !is_whole && !change.is_cut && chance_.percent(40);
      ++(is_whole ? kept : lost);
      if (is_whole) apply(file.durable, change);
      for (std::size_t at = 0; is_torn && at < change.bytes.size(); at += kSector) {
        if (chance_.percent(50)) apply(file.durable, {change.offset + at, change.bytes.substr(at, kSector)});
      }
    }
    file.changes.clear();
    file.now = file.durable;
  }
  trace_.add("the power is cut, and ", lost, " of ", lost + kept, " unsynced writes are lost");
}

Micros SimulatedDisk::sync_us() {
  return time_.now_us() < slow_until_us_ ? chance_.between(20'000, 900'000) : chance_.between(50, 400);
}

}  // namespace carillon::sim
