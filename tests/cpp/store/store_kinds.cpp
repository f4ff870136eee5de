#include "store/store_kinds.hpp"

#include <utility>

#include "store/memory_store.hpp"
#include "store/redis/redis_store.hpp"
#include "store/redis_place.hpp"
#include "store/redis_process.hpp"
#include "store/shared_store.hpp"
#include "store/sqlite/sqlite_store.hpp"
#include "store/sqlite_place.hpp"

namespace carillon {

namespace {

class MemoryStorePlace final : public StorePlace {
 public:
  std::unique_ptr<OwnedStore> open(const Clock& clock, RandomSource& random,
                                   const SuiteLimits& limits) override {
    return std::make_unique<MemoryStore>(clock, random,
                                         StoreLimits{.idempotency_window_ms = limits.idempotency_window_ms});
  }
};

template <typename Place>
class RedisStorePlace final : public StorePlace {
 public:
  std::unique_ptr<OwnedStore> open(const Clock& clock, RandomSource& random,
                                   const SuiteLimits& limits) override {
    RedisOptions options = place_.options();
    options.waiting_appends = limits.waiting_appends;
    options.limits.idempotency_window_ms = limits.idempotency_window_ms;
    return std::make_unique<RedisStore>(options, clock, random);
  }

 private:
  const Place place_;
};

class SqliteStorePlace final : public StorePlace {
 public:
  explicit SqliteStorePlace(Durability durability) : durability_(durability) {}
  std::unique_ptr<OwnedStore> open(const Clock& clock, RandomSource& random,
                                   const SuiteLimits& limits) override {
    SqliteOptions options = place_.options(durability_);
    options.waiting_appends = limits.waiting_appends;
    options.limits.idempotency_window_ms = limits.idempotency_window_ms;
    return std::make_unique<SqliteStore>(options, clock, random);
  }

 private:
  const Durability durability_;
  SqlitePlace place_;
};

/// In memory, with another gateway that follows nothing beside it.
class SharedStorePlace final : public StorePlace {
 public:
  std::unique_ptr<OwnedStore> open(const Clock& clock, RandomSource& random,
                                   const SuiteLimits& limits) override {
    auto log = std::make_shared<SharedLog>(
        clock, random, StoreLimits{.idempotency_window_ms = limits.idempotency_window_ms});
    other_ = std::make_unique<SharedStore>(log);
    return std::make_unique<SharedStore>(log);
  }

 private:
  std::unique_ptr<SharedStore> other_;
};

}  // namespace

std::vector<StoreKind> store_kinds() {
  std::vector<StoreKind> kinds;
  kinds.push_back({"memory", false, false, false, [] { return std::make_unique<MemoryStorePlace>(); }});
  kinds.push_back({"shared", true, false, false, [] { return std::make_unique<SharedStorePlace>(); }});
  for (const Durability each : {Durability::full, Durability::normal, Durability::async})
    kinds.push_back({"sqlite_" + std::string(name_of(each)), true, true, true,
                     [each] { return std::make_unique<SqliteStorePlace>(each); }});
  kinds.push_back(
      {"redis", true, true, true, [] { return std::make_unique<RedisStorePlace<RedisPlace>>(); }});
  kinds.back().missing = RedisProcess::missing;
  kinds.push_back({"redis_cluster", true, true, true,
                   [] { return std::make_unique<RedisStorePlace<RedisClusterPlace>>(); }});
  kinds.back().missing = RedisProcess::missing;
  return kinds;
}

std::vector<StoreKind> store_kinds_that(bool StoreKind::* trait) {
  std::vector<StoreKind> kinds = store_kinds();
  std::erase_if(kinds, [&](const StoreKind& kind) { return !(kind.*trait); });
  return kinds;
}

}  // namespace carillon
