#include "protocol/sse_event.hpp"

#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"
#include "protocol/poll_reply.hpp"

namespace carillon {

// One `data:` line is always enough: the objects hold no newline.

void append_sse_retry(std::string& out, std::uint64_t retry_ms) {
  append_sse_retry_line(out, retry_ms);
  out.push_back('\n');
}

void append_sse_retry_line(std::string& out, std::uint64_t retry_ms) {
  out.append("retry: ");
  append_uint(out, retry_ms);
  out.push_back('\n');
}

void append_sse_status(std::string& out, std::string_view channel, std::optional<bool> is_recovered,
                       std::string_view epoch, std::uint64_t offset, bool is_conflated) {
  out.append("event: status\ndata: ");
  append_status_object(out, channel, is_recovered, epoch, offset, is_conflated);
  out.append("\n\n");
}

void append_sse_end(std::string& out, std::uint32_t code, std::string_view reason) {
  out.append("event: status\ndata: ");
  JsonObjectWriter object(out);
  object.number("code", code);
  object.text("reason", reason);
  object.close();
  out.append("\n\n");
}

void append_sse_data(std::string& out, std::string_view channel, const PublicationView& publication) {
  out.append("data: ");
  append_publication_object(out, channel, publication);
  out.append("\n\n");
}

void append_sse_notice(std::string& out, std::string_view kind, std::string_view channel,
                       std::string_view info_json) {
  out.append("event: ").append(kind).append("\ndata: ");
  JsonObjectWriter object(out);
  object.text("channel", channel);
  object.json("info", info_json);
  object.close();
  out.append("\n\n");
}

void append_sse_id(std::string& out, std::string_view token) {
  out.append("id: ");
  out.append(token);
  out.push_back('\n');
}

void append_sse_comment(std::string& out) { out.append(":\n\n"); }

}  // namespace carillon
