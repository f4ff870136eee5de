#include "protocol/inbox_reply.hpp"

#include "protocol/json_writer.hpp"
#include "protocol/poll_reply.hpp"

namespace carillon {
namespace {

void append_counts(JsonObjectWriter& object, UnreadCounts unread) {
  std::string& out = object.open("unread");
  out.push_back('{');
  char before = '\0';
  for (const auto& [channel, count] : unread) {
    if (before != '\0') out.push_back(before);
    before = ',';
    append_json_string(out, channel);
    out.push_back(':');
    append_uint(out, count);
  }
  out.push_back('}');
}

}  // namespace

void append_inbox_publication(std::string& out, std::string_view channel, std::string_view epoch,
                              const PublicationView& publication) {
  JsonObjectWriter object(out);
  object.text("channel", channel);
  object.text("epoch", epoch);
  append_publication_fields(object, publication);
  object.close();
}

void append_inbox_gap(std::string& out, std::string_view channel, std::string_view epoch, std::uint64_t from,
                      std::uint64_t to) {
  JsonObjectWriter object(out);
  object.text("channel", channel);
  object.text("epoch", epoch);
  JsonObjectWriter gap(object.open("gap"));
  gap.number("from", from);
  gap.number("to", to);
  gap.close();
  object.close();
}

void append_inbox_reply(std::string& out, std::string_view items_joined, UnreadCounts unread, bool has_more,
                        bool is_incomplete) {
  JsonObjectWriter object(out);
  object.list("items", items_joined);
  append_counts(object, unread);
  object.boolean("has_more", has_more);
  object.boolean("is_incomplete", is_incomplete);
  object.close();
}

void append_unread_reply(std::string& out, UnreadCounts unread, bool has_more) {
  JsonObjectWriter object(out);
  append_counts(object, unread);
  object.boolean_if_true("has_more", has_more);
  object.close();
}

}  // namespace carillon
