#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "env/clock.hpp"
#include "session/access.hpp"

namespace carillon {

/// A question for the application or for a backend, on its way out of the shard. It owns its text.
struct HookQuestion {
  [[nodiscard]] static HookQuestion of(const Question& question);

  std::uint64_t id = 0;
  Operation operation = Operation::connect;
  Transport transport = Transport::websocket;
  std::string client;
  std::string user;          ///< connect: the user that a token proves; empty: none
  bool is_proved = false;    ///< connect: by a token, which is left out then
  bool is_protobuf = false;  ///< see Question
  std::string channel;
  std::string method;
  std::shared_ptr<const std::string> data;  ///< never null
  std::string token;
  std::shared_ptr<const ClientRequest> request;  ///< never null
  std::uint16_t code = 0;                        ///< disconnect
  std::string reason;                            ///< disconnect

  [[nodiscard]] std::size_t bytes() const {
    return sizeof(*this) + client.size() + user.size() + channel.size() + method.size() + data->size() +
           token.size() + request->bytes() + reason.size();
  }
};

/// Questions that are under way: those that wait, and those that the application has been asked, which has a
/// number of slots for them. Clients take turns: the next question is one of the client that has fewest
/// slots, and it must have fewer than are free. So one client has at most half of the slots, forty have one
/// in forty-one each, and there is a free slot for a client that has none. A client without an id (it
/// connects, or asks for a stream or a poll) asks one question at a time: each counts as a client.
///
/// Not thread-safe; reads no clock.
class QuestionQueue {
  struct Asker;

 public:
  using Then = std::function<void(Verdict)>;
  struct Open {
    HookQuestion question;  ///< while it waits; later only its id is left
    Then then;              ///< empty: the deadline has passed
    Millis due_ms = 0;
    Millis asked_ms = 0;  ///< when the client asked
    std::size_t bytes = 0;
    Asker* asker = nullptr;  ///< set by the queue
  };

  void add(Open open);
  /// The next question to be asked, if one of `slots` is free for it: it has its slot until finish().
  Open* next(std::size_t slots);
  /// The question has been answered, or nobody can be asked. Nothing: it has no slot.
  std::optional<Open> finish(std::uint64_t id);
  /// Ends the wait for all that is due, and adds those who waited to `late`. A question that has been asked
  /// keeps its slot: the application still has it.
  void expire(Millis now_ms, std::vector<Then>& late);

  [[nodiscard]] std::size_t size() const { return waiting_ + asked_.size(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Asker {
    std::string_view name;                  // its key
    std::map<std::uint64_t, Open> waiting;  // by id: the oldest first
    std::size_t slots = 0;
  };
  using Turn = std::tuple<std::size_t, std::uint64_t, Asker*>;  // slots, oldest question that waits

  /// Around each change of an asker: its turn depends on what it has.
  void leave_turns(Asker& asker);
  void rejoin_turns(Asker& asker);

  std::map<std::string, Asker, std::less<>> askers_;
  std::set<Turn> turns_;  // of those with questions that wait
  std::map<std::uint64_t, Open> asked_;
  std::size_t waiting_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace carillon
