#include "load/dialect.hpp"

#include <stdexcept>

#include "load/http_dialects.hpp"
#include "load/web_dialects.hpp"

namespace carillon::load {

void Dialect::append_publish(std::string& /*out*/, std::string_view /*channel*/, std::string_view /*data*/,
                             std::uint64_t /*number*/) {
  throw std::logic_error("this dialect does not publish");
}

std::vector<std::string> Dialect::channels_of(const Line& line) const {
  const std::uint64_t connection = share_of(settings_, settings_.worker).first + line.index;
  std::vector<std::string> names;
  for (std::uint64_t i = 0; i < settings_.channels_per_connection; ++i) {
    const std::uint64_t channel = (connection * settings_.channels_per_connection + i) % settings_.channels;
    names.push_back(channel_name(settings_, channel));
  }
  return names;
}

std::string Dialect::list_channels(const Line& line, std::string_view before, std::string_view after) const {
  std::string list;
  for (const std::string& name : channels_of(line)) list.append(before).append(name).append(after);
  return list;
}

std::string Dialect::user_of(const Line& line, std::string_view before) const {
  if (settings_.user.empty() || line.is_publisher) return {};
  const std::uint64_t connection = share_of(settings_, settings_.worker).first + line.index;
  return std::string(before).append("user=").append(settings_.user).append(std::to_string(connection));
}

std::unique_ptr<Dialect> make_subscriber_dialect(const Settings& settings, LineEvents& events) {
  const bool is_nchan = settings.protocol == "nchan";
  if (settings.transport == "sse") return std::make_unique<SseDialect>(settings, events);
  if (settings.transport == "poll") {
    if (is_nchan) return std::make_unique<NchanPollDialect>(settings, events);
    return std::make_unique<PollDialect>(settings, events);
  }
  if (is_nchan) return std::make_unique<NchanWebDialect>(settings, events);
  if (settings.protocol == "raw") return std::make_unique<RawWebDialect>(settings, events);
  if (settings.protocol == "socketio") return std::make_unique<SocketIoDialect>(settings, events);
  return std::make_unique<CentrifugeDialect>(settings, events);
}

std::unique_ptr<Dialect> make_publisher_dialect(const Settings& settings, LineEvents& events) {
  if (settings.publish_by == "post") return std::make_unique<PostDialect>(settings, events);
  if (settings.protocol == "raw") return std::make_unique<RawWebDialect>(settings, events);
  if (settings.protocol == "socketio") return std::make_unique<SocketIoDialect>(settings, events);
  return std::make_unique<CentrifugeDialect>(settings, events);
}

}  // namespace carillon::load
