#include "protocol/poll_reply.hpp"

#include "protocol/json_writer.hpp"

namespace carillon {

void append_publication_object(std::string& out, std::string_view channel,
                               const PublicationView& publication) {
  JsonObjectWriter object(out);
  object.text("channel", channel);
  append_publication_fields(object, publication);
  object.close();
}

void append_publication_fields(JsonObjectWriter& object, const PublicationView& publication) {
  object.number_unless_zero("offset", publication.offset);
  if (publication.is_json) {
    object.json("data", publication.data.empty() ? "null" : publication.data);
  } else {
    std::string& out = object.open("b64");
    out.push_back('"');
    append_base64(out, publication.data);
    out.push_back('"');
  }
  object.text_map_unless_empty("tags", publication.tags);
}

void append_status_object(std::string& out, std::string_view channel, std::optional<bool> is_recovered,
                          std::string_view epoch, std::uint64_t offset, bool is_conflated) {
  JsonObjectWriter object(out);
  object.text("channel", channel);
  if (is_recovered) {
    object.boolean("recovered", *is_recovered);
  } else {
    object.json("recovered", "null");
  }
  object.text("epoch", epoch);
  object.number("offset", offset);
  object.boolean_if_true("conflated", is_conflated);
  object.close();
}

void append_poll_reply(std::string& out, std::string_view publications_joined, std::string_view since_token,
                       std::string_view statuses_joined) {
  JsonObjectWriter object(out);
  object.list("publications", publications_joined);
  object.text("since", since_token);
  object.list("status", statuses_joined);
  object.close();
}

}  // namespace carillon
