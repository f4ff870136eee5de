// Publishers with one publication under way each, in the hub over the store in SQLite, beside bare loops on
// the same disk: one insert a commit, and so many inserts a commit as there are publishers. Rounds alternate.
// One thread plays all publishers: whoever has an answer publishes again. Prints one JSON object a line.
#include <sqlite3.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <vector>

#include "../bare_loop/options.hpp"
#include "hub/hub.hpp"
#include "store/sqlite/sqlite_store.hpp"

namespace carillon::bench {
namespace {

constexpr const char* kUsage =
    "usage: sqlite_groups --folder PATH [--publishers 16] [--channels 1] [--seconds 3] [--rounds 5]\n"
    "  --channels  publisher n publishes to channel n modulo this number\n"
    "  --normal    durability normal instead of full\n"
    "  --alone     without the bare loops, for a profile\n";
constexpr std::size_t kPayloadBytes = 128;

using SteadyTime = std::chrono::steady_clock::time_point;
double seconds_since(SteadyTime begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}
double cpu_s() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

void remove_database(const std::string& path) {
  for (const char* const end : {"", "-wal", "-shm", "-lock"}) ::unlink((path + end).c_str());
}

/// Commits per second of plain SQLite: a row of as many bytes as an entry of ours.
double bare_commits(const std::string& path, std::size_t rows, double seconds, bool is_full) {
  remove_database(path);
  sqlite3* database = nullptr;
  if (sqlite3_open(path.c_str(), &database) != SQLITE_OK) std::exit(1);
  const auto run = [database](const char* sql) {
    if (sqlite3_exec(database, sql, nullptr, nullptr, nullptr) != SQLITE_OK) std::exit(1);
  };
  run("PRAGMA journal_mode = WAL");
  run(is_full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
  run("CREATE TABLE entries (id INTEGER PRIMARY KEY, body BLOB NOT NULL)");
  sqlite3_stmt* insert = nullptr;
  sqlite3_prepare_v2(database, "INSERT INTO entries (body) VALUES (?1)", -1, &insert, nullptr);
  const std::string body(kPayloadBytes + 14, 'x');
  sqlite3_bind_blob(insert, 1, body.data(), static_cast<int>(body.size()), SQLITE_STATIC);
  std::size_t commits = 0;
  const auto begin = std::chrono::steady_clock::now();
  do {
    if (rows > 1) run("BEGIN IMMEDIATE");
    for (std::size_t i = 0; i < rows; ++i) {
      sqlite3_step(insert);
      sqlite3_reset(insert);
    }
    if (rows > 1) run("COMMIT");
    ++commits;
  } while (seconds_since(begin) < seconds);
  const double per_s = static_cast<double>(commits) / seconds_since(begin);
  sqlite3_finalize(insert);
  sqlite3_close(database);
  remove_database(path);
  return per_s;
}

struct Figures {
  double per_s = 0;
  double cpu_us = 0;  // of a publication, all threads
  double errors = 0;
};

/// Publications per second through hub and store.
Figures through_hub(const std::string& path, std::size_t publishers, std::size_t channels, double seconds,
                    bool is_full) {
  remove_database(path);
  SystemClock clock;
  SystemRandom random;
  SqliteOptions options;
  options.path = path;
  options.durability = is_full ? Durability::full : Durability::normal;
  SqliteStore store(options, clock, random);
  std::mutex mutex;
  std::condition_variable is_due;
  std::vector<std::size_t> answered;
  std::size_t errors = 0;
  Figures figures;
  {
    Hub hub(clock, random, store, {}, {});
    store.open();
    const std::string data = '"' + std::string(kPayloadBytes - 2, 'x') + '"';
    std::vector<std::string> names;
    for (std::size_t i = 0; i < channels; ++i) names.push_back("channel-" + std::to_string(i));
    const auto publish = [&](std::size_t publisher) {
      Publication publication;
      publication.data = data;
      hub.publish(names[publisher % channels], std::move(publication), {},
                  [&, publisher](const AppendResult& result) {
                    bool is_first = false;
                    {
                      const std::lock_guard lock(mutex);
                      if (result.error != StoreError::none) ++errors;
                      is_first = answered.empty();
                      answered.push_back(publisher);
                    }
                    if (is_first) is_due.notify_one();
                  });
    };
    for (std::size_t i = 0; i < publishers; ++i) publish(i);
    std::size_t under_way = publishers;
    std::vector<std::size_t> taken;
    std::size_t count = 0;
    double warm_up = seconds / 4;
    auto begin = std::chrono::steady_clock::now();
    double cpu = 0;
    bool is_over = false;
    while (under_way > 0) {
      {
        std::unique_lock lock(mutex);
        is_due.wait(lock, [&] { return !answered.empty(); });
        taken.swap(answered);
      }
      count += taken.size();
      under_way -= taken.size();
      if (warm_up > 0 && seconds_since(begin) >= warm_up) {
        warm_up = 0;
        count = 0;
        begin = std::chrono::steady_clock::now();
        cpu = cpu_s();
      } else if (warm_up == 0 && !is_over && seconds_since(begin) >= seconds) {
        is_over = true;
        figures.per_s = static_cast<double>(count) / seconds_since(begin);
        figures.cpu_us = (cpu_s() - cpu) / static_cast<double>(count) * 1e6;
      }
      if (!is_over) {
        under_way += taken.size();
        for (const std::size_t publisher : taken) publish(publisher);
      }
      taken.clear();
    }
    figures.errors = static_cast<double>(errors);
    store.close();
  }
  remove_database(path);
  return figures;
}

int run(const Options& options) {
  const std::string path = options.text("folder") + "/sqlite_groups.db";
  const auto publishers = options.number<std::size_t>("publishers", 16);
  const auto channels = options.number<std::size_t>("channels", 1);
  const auto seconds = static_cast<double>(options.number<std::size_t>("seconds", 3));
  const auto rounds = options.number<std::size_t>("rounds", 5);
  const bool is_full = !options.has("normal");
  if (options.text("folder").empty() || publishers == 0 || channels == 0) options.fail("--folder");
  for (std::size_t i = 0; i < rounds; ++i) {
    const bool is_alone = options.has("alone");
    const double single = is_alone ? 0 : bare_commits(path, 1, seconds, is_full);
    const Figures figures = through_hub(path, publishers, channels, seconds, is_full);
    const double grouped = is_alone ? 0 : bare_commits(path, publishers, seconds, is_full);
    std::printf(
        "{\"publishers\": %zu, \"channels\": %zu, \"bare_commits_s\": %.0f, \"bare_grouped_commits_s\": "
        "%.0f, "
        "\"publications_s\": %.0f, \"cpu_us\": %.1f, \"errors\": %.0f}\n",
        publishers, channels, single, grouped, figures.per_s, figures.cpu_us, figures.errors);
    std::fflush(stdout);
    if (figures.errors > 0) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace carillon::bench

int main(int argc, char** argv) {
  using carillon::bench::Options;
  return carillon::bench::run(Options(argc, argv, {"folder", "publishers", "channels", "seconds", "rounds"},
                                      {"normal", "alone"}, carillon::bench::kUsage));
}
