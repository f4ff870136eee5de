// The HTTP API: several commands in one request.
#include <algorithm>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "protocol/json_span.hpp"
#include "protocol/json_writer.hpp"
#include "server/api.hpp"

namespace carillon {

namespace {

struct BatchCommand {
  std::string_view name = {};
  std::string_view body = {};  ///< raw JSON
};

/// `{"<method>":{…}}`: the first field that is not null.
BatchCommand read_command(std::string_view object) {
  JsonObjectReader reader(object);
  std::string_view key;
  std::string_view value;
  while (reader.next(key, value) == JsonStep::field) {
    if (!is_json_null(value)) return {key, value};
  }
  return {};
}

std::string error_reply(const ErrorCode& error, std::string_view message) {
  std::string text;
  append_api_error(text, error.code, message.empty() ? error.message : message);
  return text;
}

std::string reply_of(std::string_view name, const HttpResponse& response) {
  const ApiAnswerParts parts = parts_of_api_answer(response.body);
  const bool is_error = !parts.error.empty();
  std::string reply = "{";
  append_json_string(reply, is_error ? "error" : name);
  reply.push_back(':');
  append_without_newlines(reply, is_error ? parts.error : parts.result);
  reply.push_back('}');
  return reply;
}

}  // namespace

/// A batch under way. A turn carries out some of its commands: each after the answer to the one before it, or
/// all at once.
struct Api::Batch {
  Body body;  // the request has views of it
  std::string scratch;
  ApiRequest request;
  std::size_t next = 0;
  std::mutex mutex;  // guards what follows: answers come on any thread
  std::vector<std::string> replies;
  std::size_t missing = 0;
  bool is_waiting = false;  // for the answer to the command before the next one
  Respond respond;

  /// True: the next command is to be carried out now.
  bool answer(std::size_t index, std::string reply) {
    bool goes_on = false;
    {
      const std::lock_guard lock(mutex);
      replies[index] = std::move(reply);
      goes_on = std::exchange(is_waiting, false);
      if (--missing > 0) return goes_on;
    }
    std::string joined;
    for (const std::string& each : replies) append_list_item(joined, each);
    HttpResponse response;
    append_api_batch_replies(response.body, joined);
    respond(std::move(response));
    return false;
  }
  /// Must the next command wait for the answer to this one? answer() then says when it goes on.
  bool must_wait(std::size_t index) {
    if (request.is_parallel) return false;
    const std::lock_guard lock(mutex);
    return is_waiting = replies[index].empty();
  }
};

void Api::batch(Body body, Respond respond) {
  auto work = std::make_shared<Batch>();
  work->body = std::move(body);
  const ApiDecode decoded =
      decode_api_request(ApiMethod::batch, work->body.text, work->request, work->scratch);
  if (auto refusal = undecoded(decoded, work->request)) return respond(std::move(*refusal));
  const std::size_t commands = work->request.commands.size();
  if (commands > static_cast<std::size_t>(limits_.batch_commands))
    return respond(api_error({kErrorBadRequest, "commands: more than limits.batch_commands (" +
                                                    std::to_string(limits_.batch_commands) + ")"}));
  if (commands == 0) {
    HttpResponse response;
    append_api_batch_replies(response.body, {});
    return respond(std::move(response));
  }
  work->replies.resize(commands);
  work->missing = commands;
  work->respond = std::move(respond);
  Shard::in_pieces([this, work] { return batch_some(work); });
}

bool Api::batch_some(const std::shared_ptr<Batch>& work) {
  static constexpr std::size_t kCommands = 16;  // one turn's share
  const std::size_t commands = work->request.commands.size();
  for (std::size_t left = kCommands; left > 0 && work->next < commands; --left) {
    const std::size_t index = work->next++;
    const BatchCommand command = read_command(work->request.commands[index]);
    const auto method = find_api_method(command.name);
    if (!method || *method == ApiMethod::batch) {
      work->answer(index, method ? error_reply(kErrorBadRequest, "commands: a batch cannot be in a batch")
                                 : error_reply(kErrorMethodNotFound, unknown_api_method(command.name)));
      continue;
    }
    call(*method, command.body, {}, [this, work, index, name = command.name](const HttpResponse& response) {
      if (work->answer(index, reply_of(name, response)))
        Shard::in_pieces([this, work] { return batch_some(work); });
    });
    if (work->must_wait(index)) return false;
  }
  return work->next < commands;
}

}  // namespace carillon
