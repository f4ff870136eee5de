#include "store/faulty_vfs.hpp"

#include <sqlite3.h>

#include <cstring>

namespace carillon {

namespace {

/// SQLite's own file object comes behind this one.
struct FaultyFile {
  sqlite3_file base;
  bool is_wal;
  sqlite3_file* inner() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};
FaultyFile& faulty(sqlite3_file* file) { return *reinterpret_cast<FaultyFile*>(file); }
sqlite3_file* inner(sqlite3_file* file) { return faulty(file).inner(); }

int write_or_fail(sqlite3_file* file, const void* bytes, int size, sqlite3_int64 offset) {
  if (FaultyVfs::is_full) return SQLITE_FULL;
  return inner(file)->pMethods->xWrite(inner(file), bytes, size, offset);
}
int sync_or_fail(sqlite3_file* file, int flags) {
  if (faulty(file).is_wal) {
    ++FaultyVfs::wal_syncs;
    if (FaultyVfs::failing_syncs > 0) {
      --FaultyVfs::failing_syncs;
      return SQLITE_IOERR_FSYNC;
    }
  }
  if (FaultyVfs::is_sync_failing) return SQLITE_IOERR_FSYNC;
  return inner(file)->pMethods->xSync(inner(file), flags);
}

const sqlite3_io_methods kMethods{
    2,
    [](sqlite3_file* file) -> int { return inner(file)->pMethods->xClose(inner(file)); },
    [](sqlite3_file* file, void* bytes, int size, sqlite3_int64 offset) -> int {
      return inner(file)->pMethods->xRead(inner(file), bytes, size, offset);
    },
    write_or_fail,
    [](sqlite3_file* file, sqlite3_int64 size) -> int {
      return inner(file)->pMethods->xTruncate(inner(file), size);
    },
    sync_or_fail,
    [](sqlite3_file* file, sqlite3_int64* size) -> int {
      return inner(file)->pMethods->xFileSize(inner(file), size);
    },
    [](sqlite3_file* file, int lock) -> int { return inner(file)->pMethods->xLock(inner(file), lock); },
    [](sqlite3_file* file, int lock) -> int { return inner(file)->pMethods->xUnlock(inner(file), lock); },
    [](sqlite3_file* file, int* out) -> int {
      return inner(file)->pMethods->xCheckReservedLock(inner(file), out);
    },
    [](sqlite3_file* file, int what, void* argument) -> int {
      return inner(file)->pMethods->xFileControl(inner(file), what, argument);
    },
    [](sqlite3_file* file) -> int { return inner(file)->pMethods->xSectorSize(inner(file)); },
    [](sqlite3_file* file) -> int { return inner(file)->pMethods->xDeviceCharacteristics(inner(file)); },
    [](sqlite3_file* file, int region, int size, int extend, void volatile** out) -> int {
      return inner(file)->pMethods->xShmMap(inner(file), region, size, extend, out);
    },
    [](sqlite3_file* file, int offset, int count, int flags) -> int {
      return inner(file)->pMethods->xShmLock(inner(file), offset, count, flags);
    },
    [](sqlite3_file* file) { inner(file)->pMethods->xShmBarrier(inner(file)); },
    [](sqlite3_file* file, int is_deleted) -> int {
      return inner(file)->pMethods->xShmUnmap(inner(file), is_deleted);
    },
    nullptr,
    nullptr,
};

sqlite3_vfs* g_system_vfs = nullptr;

int open_faulty(sqlite3_vfs* /*vfs*/, const char* name, sqlite3_file* file, int flags, int* out) {
  FaultyFile& own = faulty(file);
  own.base.pMethods = nullptr;
  if (FaultyVfs::is_open_failing) return SQLITE_CANTOPEN;
  own.is_wal = (flags & SQLITE_OPEN_WAL) != 0;
  const int code = g_system_vfs->xOpen(g_system_vfs, name, own.inner(), flags, out);
  if (own.inner()->pMethods != nullptr) own.base.pMethods = &kMethods;
  return code;
}

}  // namespace

std::string FaultyVfs::name() {
  static sqlite3_vfs vfs;
  static const bool is_registered = [] {
    g_system_vfs = sqlite3_vfs_find(nullptr);
    vfs = *g_system_vfs;
    vfs.zName = "carillon-faulty";
    vfs.szOsFile = static_cast<int>(sizeof(FaultyFile)) + g_system_vfs->szOsFile;
    vfs.xOpen = open_faulty;
    return sqlite3_vfs_register(&vfs, 0) == SQLITE_OK;
  }();
  return is_registered ? vfs.zName : "";
}

}  // namespace carillon
