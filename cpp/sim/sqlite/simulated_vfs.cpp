#include "sim/sqlite/simulated_vfs.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

namespace carillon::sim {

namespace {

std::string next_name() {
  static std::atomic<std::uint64_t> names{0};
  return "carillon-simulated-" + std::to_string(++names);
}

struct OpenFile {
  sqlite3_file base;
  SimulatedVfs* vfs;
  SimulatedDisk::File* file;
  int level;  // of its lock
  unsigned shared_locks;
  unsigned exclusive_locks;
};
OpenFile& open_file(sqlite3_file* file) { return *reinterpret_cast<OpenFile*>(file); }
SimulatedVfs& vfs_of(sqlite3_vfs* vfs) { return *static_cast<SimulatedVfs*>(vfs->pAppData); }

int code_of(SimulatedDisk::Outcome outcome, int failed) {
  if (outcome == SimulatedDisk::Outcome::full) return SQLITE_FULL;
  return outcome == SimulatedDisk::Outcome::done ? SQLITE_OK : failed;
}

int unlock(sqlite3_file* file, int level) {
  OpenFile& own = open_file(file);
  SimulatedDisk::File& all = *own.file;
  if (level < SQLITE_LOCK_RESERVED && all.reserved == file) all.reserved = nullptr;
  if (level < SQLITE_LOCK_PENDING && all.pending == file) all.pending = nullptr;
  if (level < SQLITE_LOCK_EXCLUSIVE && all.exclusive == file) all.exclusive = nullptr;
  if (level == SQLITE_LOCK_NONE && own.level > SQLITE_LOCK_NONE) --all.shared;
  own.level = std::min(own.level, level);
  return SQLITE_OK;
}

int lock(sqlite3_file* file, int level) {
  OpenFile& own = open_file(file);
  SimulatedDisk::File& all = *own.file;
  if (own.vfs->is_ended()) return SQLITE_IOERR_LOCK;
  if (own.level >= level) return SQLITE_OK;
  const auto is_of_another = [&](const void* holder) { return holder != nullptr && holder != file; };
  if (level == SQLITE_LOCK_SHARED) {
    if (is_of_another(all.pending) || is_of_another(all.exclusive)) return SQLITE_BUSY;
    ++all.shared;
  }
  if (level >= SQLITE_LOCK_RESERVED) {
    if (is_of_another(all.reserved) || is_of_another(all.pending)) return SQLITE_BUSY;
    if (level == SQLITE_LOCK_RESERVED) all.reserved = file;
  }
  if (level == SQLITE_LOCK_EXCLUSIVE) {
    all.pending = file;
    if (own.level < SQLITE_LOCK_PENDING) own.level = SQLITE_LOCK_PENDING;
    if (all.shared > 1) return SQLITE_BUSY;
    all.exclusive = file;
  }
  own.level = level;
  return SQLITE_OK;
}

int lock_memory(sqlite3_file* file, int offset, int count, int flags) {
  OpenFile& own = open_file(file);
  SimulatedDisk::SharedMemory& memory = own.file->memory;
  const bool is_shared = (flags & SQLITE_SHM_SHARED) != 0;
  const unsigned mask = ((1U << static_cast<unsigned>(count)) - 1U) << static_cast<unsigned>(offset);
  if ((flags & SQLITE_SHM_UNLOCK) != 0) {
    for (int i = offset; i < offset + count; ++i) {
      const unsigned bit = 1U << static_cast<unsigned>(i);
      if ((own.shared_locks & bit) != 0) --memory.shared[i];
      if ((own.exclusive_locks & bit) != 0) memory.exclusive[i] = false;
    }
    own.shared_locks &= ~mask;
    own.exclusive_locks &= ~mask;
    return SQLITE_OK;
  }
  if (own.vfs->is_ended()) return SQLITE_IOERR_SHMLOCK;
  for (int i = offset; i < offset + count; ++i) {
    const unsigned bit = 1U << static_cast<unsigned>(i);
    const bool is_mine = (own.exclusive_locks & bit) != 0;
    const int others = memory.shared[i] - ((own.shared_locks & bit) != 0 ? 1 : 0);
    if ((memory.exclusive[i] && !is_mine) || (!is_shared && others > 0)) return SQLITE_BUSY;
  }
  for (int i = offset; i < offset + count; ++i) {
    const unsigned bit = 1U << static_cast<unsigned>(i);
    if (!is_shared) {
      memory.exclusive[i] = true;
      own.exclusive_locks |= bit;
    } else if ((own.shared_locks & bit) == 0) {
      ++memory.shared[i];
      own.shared_locks |= bit;
    }
  }
  return SQLITE_OK;
}

int close(sqlite3_file* file) {
  OpenFile& own = open_file(file);
  lock_memory(file, 0, SimulatedDisk::SharedMemory::kLocks, SQLITE_SHM_UNLOCK);
  unlock(file, SQLITE_LOCK_NONE);
  if (--own.file->handles == 0) own.file->memory = {};
  return SQLITE_OK;
}

int read(sqlite3_file* file, void* bytes, int size, sqlite3_int64 offset) {
  const OpenFile& own = open_file(file);
  if (own.vfs->is_ended()) return SQLITE_IOERR_READ;
  const std::string& content = own.file->now;
  const auto from = std::min(static_cast<std::size_t>(offset), content.size());
  const auto wanted = static_cast<std::size_t>(size);
  const std::size_t there = std::min(wanted, content.size() - from);
  std::memcpy(bytes, content.data() + from, there);
  if (there == wanted) return SQLITE_OK;
  std::memset(static_cast<char*>(bytes) + there, 0, wanted - there);
  return SQLITE_IOERR_SHORT_READ;
}

int write(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 offset) {
  const OpenFile& own = open_file(file);
  if (!own.vfs->may_change()) return SQLITE_IOERR_WRITE;
  return code_of(own.vfs->disk().write(*own.file, static_cast<std::size_t>(offset),
                                       {static_cast<const char*>(bytes), static_cast<std::size_t>(size)}),
                 SQLITE_IOERR_WRITE);
}

int sync(sqlite3_file* file, int /*flags*/) {
  const OpenFile& own = open_file(file);
  if (!own.vfs->may_change()) return SQLITE_IOERR_FSYNC;
  own.vfs->threads().sleep(std::chrono::microseconds(own.vfs->disk().sync_us()));
  if (own.vfs->is_ended()) return SQLITE_IOERR_FSYNC;
  return code_of(own.vfs->disk().sync(*own.file), SQLITE_IOERR_FSYNC);
}

int map_memory(sqlite3_file* file, int region, int size, int is_extended, void volatile** out) {
  const OpenFile& own = open_file(file);
  *out = nullptr;
  if (own.vfs->is_ended()) return SQLITE_IOERR_SHMMAP;
  auto& regions = own.file->memory.regions;
  const auto index = static_cast<std::size_t>(region);
  while (regions.size() <= index) {
    if (is_extended == 0) return SQLITE_OK;
    regions.emplace_back(static_cast<std::size_t>(size) / sizeof(std::uint64_t));
  }
  *out = regions[index].data();
  return SQLITE_OK;
}

const sqlite3_io_methods kMethods{
    2,
    close,
    read,
    write,
    [](sqlite3_file* file, sqlite3_int64 size) -> int {
      const OpenFile& own = open_file(file);
      if (!own.vfs->may_change()) return SQLITE_IOERR_TRUNCATE;
      return code_of(own.vfs->disk().truncate(*own.file, static_cast<std::size_t>(size)),
                     SQLITE_IOERR_TRUNCATE);
    },
    sync,
    [](sqlite3_file* file, sqlite3_int64* size) -> int {
      *size = static_cast<sqlite3_int64>(open_file(file).file->now.size());
      return open_file(file).vfs->is_ended() ? SQLITE_IOERR_FSTAT : SQLITE_OK;
    },
    lock,
    unlock,
    [](sqlite3_file* file, int* out) -> int {
      *out = open_file(file).file->reserved != nullptr ? 1 : 0;
      return SQLITE_OK;
    },
    [](sqlite3_file* /*file*/, int /*what*/, void* /*argument*/) -> int { return SQLITE_NOTFOUND; },
    [](sqlite3_file* /*file*/) -> int { return 4'096; },
    [](sqlite3_file* /*file*/) -> int { return SQLITE_IOCAP_POWERSAFE_OVERWRITE; },
    map_memory,
    lock_memory,
    [](sqlite3_file* /*file*/) {},
    [](sqlite3_file* /*file*/, int /*is_deleted*/) -> int { return SQLITE_OK; },
    nullptr,
    nullptr,
};

int open(sqlite3_vfs* vfs, const char* name, sqlite3_file* file, int flags, int* out) {
  OpenFile& own = open_file(file);
  own = {};
  SimulatedVfs& way = vfs_of(vfs);
  if (name == nullptr || way.is_ended()) return SQLITE_CANTOPEN;
  if (!way.disk().exists(name) && (flags & SQLITE_OPEN_CREATE) == 0) return SQLITE_CANTOPEN;
  own.vfs = &way;
  own.file = &way.disk().file(name);
  ++own.file->handles;
  own.base.pMethods = &kMethods;
  if (out != nullptr) *out = flags;
  return SQLITE_OK;
}

}  // namespace

struct SimulatedVfs::Registration {
  explicit Registration(SimulatedVfs& owner) {
    vfs.iVersion = 1;
    vfs.szOsFile = static_cast<int>(sizeof(OpenFile));
    vfs.mxPathname = 255;
    vfs.zName = owner.name_.c_str();
    vfs.pAppData = &owner;
    vfs.xOpen = open;
    vfs.xDelete = [](sqlite3_vfs* own, const char* name, int /*is_synced*/) -> int {
      if (!vfs_of(own).may_change()) return SQLITE_IOERR_DELETE;
      vfs_of(own).disk().remove(name);
      return SQLITE_OK;
    };
    vfs.xAccess = [](sqlite3_vfs* own, const char* name, int /*flags*/, int* out) -> int {
      *out = vfs_of(own).disk().exists(name) ? 1 : 0;
      return vfs_of(own).is_ended() ? SQLITE_IOERR_ACCESS : SQLITE_OK;
    };
    vfs.xFullPathname = [](sqlite3_vfs* /*own*/, const char* name, int size, char* out) -> int {
      sqlite3_snprintf(size, out, "%s", name);
      return SQLITE_OK;
    };
    vfs.xRandomness = [](sqlite3_vfs* /*own*/, int size, char* out) -> int {
      std::memset(out, 0x5a, static_cast<std::size_t>(size));
      return size;
    };
    vfs.xSleep = [](sqlite3_vfs* own, int us) -> int {
      vfs_of(own).threads().sleep(std::chrono::microseconds(us));
      return us;
    };
    vfs.xCurrentTime = [](sqlite3_vfs* /*own*/, double* out) -> int {
      *out = 2'460'000.5;
      return SQLITE_OK;
    };
    vfs.xGetLastError = [](sqlite3_vfs* /*own*/, int /*size*/, char* /*out*/) -> int { return 0; };
    sqlite3_vfs_register(&vfs, 0);
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  ~Registration() { sqlite3_vfs_unregister(&vfs); }

  sqlite3_vfs vfs{};
};

SimulatedVfs::SimulatedVfs(SimulatedDisk& disk, SqliteThreads& threads)
    : disk_(disk),
      threads_(threads),
      name_(next_name()),
      registration_(std::make_unique<Registration>(*this)) {
  disk_.attach(&is_ended_);
}

SimulatedVfs::~SimulatedVfs() { disk_.detach(&is_ended_); }

void SimulatedVfs::end_after(std::uint64_t changes, std::function<void()> on_end) {
  changes_left_ = changes;
  on_end_ = std::move(on_end);
}

bool SimulatedVfs::may_change() {
  if (is_ended_) return false;
  if (changes_left_ == UINT64_MAX || changes_left_-- > 0) return true;
  is_ended_ = true;
  if (on_end_) std::exchange(on_end_, nullptr)();
  threads_.sleep(std::chrono::microseconds(1));  // nothing of it happens before the process has died
  return false;
}

}  // namespace carillon::sim
