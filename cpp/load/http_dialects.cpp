#include "load/http_dialects.hpp"

#include <charconv>

#include "load/http_head.hpp"

namespace carillon::load {

namespace {

constexpr int kPollTimeoutS = 25;

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\r')); }

}  // namespace

// ---- SSE

void SseDialect::open(Line& line) {
  line.stage = Line::Stage::opening;
  const bool is_nchan = settings_.protocol == "nchan";
  const std::string target =
      is_nchan ? "/sub/" + list_channels(line, ",", "").substr(1)
               : "/sse?" + list_channels(line, "&channel=", "").substr(1) + user_of(line, "&");
  std::string request = "GET " + target + " HTTP/1.1\r\n" + host_header() + "Accept: text/event-stream\r\n";
  if (!line.position.empty()) request.append("Last-Event-ID: ").append(line.position).append("\r\n");
  events_.send(line, request + "\r\n");
}

std::size_t SseDialect::hear(Line& line, char* bytes, std::size_t size) {
  const std::string_view text(bytes, size);
  if (line.stage == Line::Stage::opening) return hear_head(line, text);
  if (line.is_chunked) return hear_chunk(line, text);
  const std::size_t end = text.find("\n\n");
  if (end == std::string_view::npos) return 0;
  on_event(line, text.substr(0, end));
  return end + 2;
}

std::size_t SseDialect::hear_head(Line& line, std::string_view bytes) {
  const auto head = read_http_head(bytes);
  if (!head) return 0;
  if (head->status != 200) {
    events_.on_refused(line, first_line(bytes));
    return bytes.size();
  }
  line.is_chunked = head->value("transfer-encoding") == "chunked";
  line.stage = Line::Stage::joining;
  line.awaited = static_cast<std::uint32_t>(settings_.channels_per_connection);
  if (settings_.protocol == "nchan") events_.on_live(line);
  return head->bytes;
}

/// A chunk holds whole events: servers flush after an event, never within one.
std::size_t SseDialect::hear_chunk(Line& line, std::string_view bytes) {
  const std::size_t head = bytes.find("\r\n");
  if (head == std::string_view::npos) return 0;
  std::size_t length = 0;
  std::from_chars(bytes.data(), bytes.data() + head, length, 16);
  if (bytes.size() < head + 2 + length + 2) return 0;
  std::string_view events = bytes.substr(head + 2, length);
  for (std::size_t end = events.find("\n\n"); end != std::string_view::npos; end = events.find("\n\n")) {
    on_event(line, events.substr(0, end));
    events.remove_prefix(end + 2);
  }
  if (events.find("data:") != std::string_view::npos) events_.on_malformed(line, events);
  return head + 2 + length + 2;
}

void SseDialect::on_event(Line& line, std::string_view event) {
  if (keeps_positions()) keep_position(line, event);
  if (events_.on_messages(line, event) > 0) return;
  if (event.find("event: status\n") == std::string_view::npos) return;            // a comment, the retry time
  if (line.stage == Line::Stage::live) return events_.on_malformed(line, event);  // the server tells of a gap
  if (--line.awaited == 0) events_.on_live(line);
}

void SseDialect::keep_position(Line& line, std::string_view event) {
  const bool is_resumed = !line.position.empty() && line.stage == Line::Stage::joining;
  if (is_resumed && event.find("\"recovered\":false") != std::string_view::npos)
    events_.on_not_recovered(line);
  const std::size_t id = event.starts_with("id:") ? 0 : event.find("\nid:");
  if (id == std::string_view::npos) return;
  event.remove_prefix(event.find(':', id) + 1);
  if (event.starts_with(' ')) event.remove_prefix(1);
  line.position = event.substr(0, event.find('\n'));
}

// ---- long-poll

void PollDialect::open(Line& line) {
  line.stage = Line::Stage::joining;
  poll(line, 0);  // answered at once: the position from which nothing is missed
}

void PollDialect::poll(Line& line, int timeout_s) {
  std::string request = "GET /poll?" + list_channels(line, "&channel=", "").substr(1);
  request.append(user_of(line, "&"));
  if (!line.position.empty()) request.append("&since=").append(line.position);
  request.append("&timeout=").append(std::to_string(timeout_s)).append(" HTTP/1.1\r\n");
  request.append(host_header()).append("\r\n");
  events_.send(line, request);
}

std::size_t PollDialect::hear(Line& line, char* bytes, std::size_t size) {
  constexpr std::string_view kSince = "\"since\":\"";
  const std::string_view text(bytes, size);
  const auto head = read_http_head(text);
  if (!head || size < head->bytes + head->content_length) return 0;
  const std::string_view body = text.substr(head->bytes, head->content_length);
  const std::size_t since = body.rfind(kSince);
  if (head->status != 200 || since == std::string_view::npos) {
    events_.on_refused(line, first_line(text));
    return size;
  }
  const std::string_view position = body.substr(since + kSince.size());
  line.position.assign(position.substr(0, position.find('"')));
  // An answer without publications is one that waited in vain.
  if (events_.on_messages(line, body.substr(0, since)) == 0 && !body.starts_with("{\"publications\":[]")) {
    events_.on_malformed(line, body);
  }
  if (keeps_positions() && body.find("\"recovered\":false") != std::string_view::npos) {
    events_.on_not_recovered(line);
  }
  poll(line, kPollTimeoutS);
  if (line.stage == Line::Stage::joining) events_.on_live(line);
  return head->bytes + head->content_length;
}

// ---- long-poll of nchan

void NchanPollDialect::open(Line& line) {
  line.stage = Line::Stage::joining;
  poll(line);
}

void NchanPollDialect::poll(Line& line) {
  std::string request = "GET /poll/" + list_channels(line, "", "") + " HTTP/1.1\r\n" + host_header();
  request.append(line.position).append("\r\n");
  events_.send(line, request);
}

std::size_t NchanPollDialect::hear(Line& line, char* bytes, std::size_t size) {
  const std::string_view text(bytes, size);
  const auto head = read_http_head(text);
  if (!head || size < head->bytes + head->content_length) return 0;
  if (head->status != 200) {
    events_.on_refused(line, first_line(text));
    return size;
  }
  line.position.assign("If-Modified-Since: ").append(head->value("last-modified"));
  line.position.append("\r\nIf-None-Match: ").append(head->value("etag")).append("\r\n");
  const std::string_view body = text.substr(head->bytes, head->content_length);
  const bool is_first = line.stage == Line::Stage::joining;
  if (events_.on_messages(line, body) == 0 && !is_first) events_.on_malformed(line, body);
  poll(line);
  if (is_first) events_.on_live(line);
  return head->bytes + head->content_length;
}

// ---- publishing by POST

void PostDialect::open(Line& line) { events_.on_live(line); }

std::size_t PostDialect::hear(Line& line, char* bytes, std::size_t size) {
  const std::string_view text(bytes, size);
  const auto head = read_http_head(text);
  if (!head || size < head->bytes + head->content_length) return 0;
  const std::string_view body = text.substr(head->bytes, head->content_length);
  const bool is_taken = head->status >= 200 && head->status < 300;
  if (!is_taken || body.find("\"error\":") != std::string_view::npos) {
    events_.on_refused(line, is_taken ? body : first_line(text));
  } else {
    events_.on_published(line, line.replies++);
  }
  return head->bytes + head->content_length;
}

void PostDialect::append_publish(std::string& out, std::string_view channel, std::string_view data,
                                 std::uint64_t /*number*/) {
  const bool is_nchan = settings_.protocol == "nchan";
  std::string body;
  if (is_nchan) {
    body = data;
  } else {
    body.append("{\"channel\":\"").append(channel).append("\",\"data\":").append(data).append("}");
  }
  out.append("POST ").append(is_nchan ? "/pub/" : "/api/publish").append(is_nchan ? channel : "");
  out.append(" HTTP/1.1\r\n").append(host_header()).append("Content-Type: application/json\r\n");
  if (!settings_.api_key.empty()) out.append("X-API-Key: ").append(settings_.api_key).append("\r\n");
  out.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n\r\n").append(body);
}

}  // namespace carillon::load
