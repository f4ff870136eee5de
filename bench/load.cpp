// Load generator for one channel: N WebSocket subscribers and one publisher, one thread, one epoll.
//
// Speaks the Centrifuge JSON protocol, so that it drives Carillon and the bare loop alike. It either keeps K
// messages in flight (a message is in flight until EVERY subscriber has it), or publishes R messages per
// second, or only holds its connections. It checks on every connection that offsets follow one another, and
// on the first one that the data are those that were published. Exit code: 0 all is well; 1 something was
// lost, repeated, reordered, changed or refused; 2 wrong usage.
#include <arpa/inet.h>

#include <algorithm>
#include <string>
#include <vector>

#include "load_run.hpp"
#include "load_settings.hpp"
#include "options.hpp"
#include "process_meter.hpp"

namespace carillon::bench {
namespace {

constexpr const char* kUsage = R"(usage: load --url HOST:PORT [options]
  --subscribers N     WebSocket subscribers (1000)
  --in-flight K       messages published and not yet with every subscriber (1)
  --rate R            messages per second instead of --in-flight
  --hold              publish nothing: connect, subscribe, wait, report memory
  --messages M        length of the measured window in messages, or
  --seconds S         in seconds (5)
  --warmup M          messages before the measured window (100)
  --payload B         bytes of the data, a JSON string with its quotes (128)
  --channel NAME      (bench)
  --path PATH         of the WebSocket endpoint (/connection/websocket)
  --publish-by ws|post  a WebSocket publisher, or pipelined POST /api/publish (ws)
  --api-key KEY       sent as X-API-Key with --publish-by post
  --server-pid PID    report this process's CPU time and memory
  --sleep             sleep in epoll_wait; without it the generator spins in the measured part
  --timeout-s S       give up after so long without progress (30)
  --json              print one JSON object instead of the table
)";

Settings read_settings(const Options& options) {
  Settings settings{};
  settings.url = options.text("url", "");
  const std::size_t colon = settings.url.rfind(':');
  const std::string host =
      settings.url.substr(0, colon) == "localhost" ? "127.0.0.1" : settings.url.substr(0, colon);
  settings.server.sin_family = AF_INET;
  if (colon == std::string::npos || inet_pton(AF_INET, host.c_str(), &settings.server.sin_addr) != 1) {
    options.fail("--url " + settings.url + " (an IPv4 address and a port)");
  }
  settings.server.sin_port = htons(static_cast<std::uint16_t>(std::atoi(settings.url.c_str() + colon + 1)));
  settings.path = options.text("path", "/connection/websocket");
  settings.channel = options.text("channel", "bench");
  settings.api_key = options.text("api-key", "");
  settings.subscribers = options.number<std::uint64_t>("subscribers", 1000);
  settings.in_flight = options.number<std::uint64_t>("in-flight", 1);
  settings.messages = options.number<std::uint64_t>("messages", 0);
  settings.warmup = options.number<std::uint64_t>("warmup", 100);
  settings.payload_bytes = options.number<std::uint64_t>("payload", 128);
  settings.rate_per_s = options.number<double>("rate", 0);
  settings.seconds = options.number<double>("seconds", settings.messages > 0 ? 0 : 5);
  settings.timeout_s = options.number<double>("timeout-s", 30);
  settings.holds = options.has("hold");
  settings.sleeps = options.has("sleep");
  const std::string publish_by = options.text("publish-by", "ws");
  settings.publishes_by_post = publish_by == "post";
  if (publish_by != "ws" && publish_by != "post") options.fail("--publish-by " + publish_by);
  if (settings.subscribers == 0) options.fail("--subscribers 0");
  if (settings.in_flight == 0 || settings.in_flight > kMostInFlight) options.fail("--in-flight: 1 to 65536");
  if (settings.payload_bytes < 2) options.fail("--payload below 2: there must be room for the quotes");
  if (settings.rate_per_s < 0 || settings.seconds < 0) options.fail("a negative --rate or --seconds");
  if (raise_descriptor_limit() < settings.subscribers + 20)
    options.fail("--subscribers beyond the descriptor limit");
  return settings;
}

/// Rows of (name, value), printed as a table or as one JSON object; text is quoted, numbers are not.
class Report {
 public:
  void text(const char* name, const std::string& value) { rows_.push_back({name, value, true}); }

  void number(const char* name, double value, int decimals = 0) {
    char digits[64];
    std::snprintf(digits, sizeof digits, "%.*f", decimals, value);
    rows_.push_back({name, digits, false});
  }

  void print(bool as_json) const {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const Row& row = rows_[i];
      if (as_json) {
        const char* quote = row.is_text ? "\"" : "";
        std::printf("%s\"%s\":%s%s%s", i == 0 ? "{" : ",", row.name, quote, row.value.c_str(), quote);
      } else {
        std::printf("%-32s %s\n", row.name, row.value.c_str());
      }
    }
    if (as_json) std::printf("}\n");
  }

 private:
  struct Row {
    const char* name;
    std::string value;
    bool is_text;
  };
  std::vector<Row> rows_;
};

double percentile_ms(const std::vector<std::uint64_t>& sorted_ns, double share) {
  if (sorted_ns.empty()) return 0;
  const auto at = static_cast<std::size_t>(share * static_cast<double>(sorted_ns.size()));
  return static_cast<double>(sorted_ns[std::min(at, sorted_ns.size() - 1)]) / 1e6;
}

void report_load(Report& report, const Settings& settings, const Result& result) {
  const auto deliveries = static_cast<double>(result.counts.deliveries);
  const double per_delivery = deliveries > 0 ? 1 / deliveries : 0;
  if (settings.rate_per_s > 0) {
    report.number("rate_per_s", settings.rate_per_s, 1);
  } else {
    report.number("in_flight", static_cast<double>(settings.in_flight));
  }
  report.number("payload_bytes", static_cast<double>(settings.payload_bytes));
  report.text("publish_by", settings.publishes_by_post ? "post" : "ws");
  report.text("generator_waits", settings.sleeps ? "sleeping" : "spinning");
  report.number("warmup_messages", static_cast<double>(settings.warmup));
  report.number("messages", static_cast<double>(result.messages));
  report.number("deliveries", deliveries);
  report.number("window_s", result.window_s, 3);
  report.number("deliveries_per_s", result.window_s > 0 ? deliveries / result.window_s : 0);
  report.number("last_subscriber_p50_ms", percentile_ms(result.last_subscriber_ns, 0.50), 3);
  report.number("last_subscriber_p99_ms", percentile_ms(result.last_subscriber_ns, 0.99), 3);
  report.number("last_subscriber_p999_ms", percentile_ms(result.last_subscriber_ns, 0.999), 3);
  report.number("generator_us_per_delivery", result.generator_us * per_delivery, 4);
  if (result.server_us > 0) {
    report.number("server_us_per_delivery", result.server_us * per_delivery, 4);
    report.number("server_user_us_per_delivery", result.server_us * result.user_share * per_delivery, 4);
    report.number("server_system_us_per_delivery", result.server_us * (1 - result.user_share) * per_delivery,
                  4);
    report.number("server_cores_busy", result.server_us / 1e6 / result.window_s, 3);
  }
}

void print_report(const Settings& settings, const Result& result, bool measures_server, bool as_json) {
  Report report;
  report.text("url", settings.url);
  report.text("channel", settings.channel);
  report.number("subscribers", static_cast<double>(settings.subscribers));
  report.number("connect_s", result.connect_s, 3);
  if (settings.holds) {
    report.number("held_s", settings.seconds, 1);
  } else {
    report_load(report, settings, result);
  }
  if (measures_server) {
    const auto before = static_cast<double>(result.memory_before.private_kib);
    const auto after = static_cast<double>(result.memory_after.private_kib);
    report.number("server_resident_kib", static_cast<double>(result.memory_after.resident_kib));
    report.number("server_private_before_kib", before);
    report.number("server_private_kib", after);
    report.number("private_bytes_per_connection",
                  (after - before) * 1024 / (static_cast<double>(settings.subscribers) - 1));
  }
  report.number("missing", static_cast<double>(result.counts.missing));
  report.number("repeated_or_reordered", static_cast<double>(result.counts.repeated));
  report.number("malformed", static_cast<double>(result.counts.malformed));
  report.number("changed", static_cast<double>(result.counts.changed));
  report.number("refused", static_cast<double>(result.counts.refused));
  report.number("lost_connections", static_cast<double>(result.counts.closed));
  report.print(as_json);
}

}  // namespace
}  // namespace carillon::bench

int main(int argc, char** argv) {
  using namespace carillon::bench;
  const Options options(argc, argv,
                        {"url", "subscribers", "in-flight", "rate", "messages", "seconds", "warmup",
                         "payload", "channel", "path", "publish-by", "api-key", "server-pid", "timeout-s"},
                        {"hold", "sleep", "json"}, kUsage);
  const Settings settings = read_settings(options);
  const ProcessMeter server(options.number<pid_t>("server-pid", 0));
  const Result result = Load(settings, server).run();
  print_report(settings, result, server.is_present(), options.has("json"));
  return result.counts.is_clean() ? 0 : 1;
}
