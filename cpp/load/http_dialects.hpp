#pragma once

#include "load/dialect.hpp"

namespace carillon::load {

/// Server-Sent Events: Carillon's /sse, and nchan's subscribers that accept an event stream.
class SseDialect final : public Dialect {
 public:
  using Dialect::Dialect;
  void open(Line& line) override;
  std::size_t hear(Line& line, char* bytes, std::size_t size) override;

 private:
  std::size_t hear_head(Line& line, std::string_view bytes);
  std::size_t hear_chunk(Line& line, std::string_view bytes);
  void on_event(Line& line, std::string_view event);
  void keep_position(Line& line, std::string_view event);
};

/// Polls of Carillon and of the bare loop: each goes on from the `since` of the answer before.
class PollDialect final : public Dialect {
 public:
  using Dialect::Dialect;
  void open(Line& line) override;
  std::size_t hear(Line& line, char* bytes, std::size_t size) override;

 private:
  void poll(Line& line, int timeout_s);
};

/// Polls of nchan at /poll/CHANNEL: each goes on from the Last-Modified and Etag of the answer before. The
/// channel must hold a message when the run begins, else the first poll is not answered.
class NchanPollDialect final : public Dialect {
 public:
  using Dialect::Dialect;
  void open(Line& line) override;
  std::size_t hear(Line& line, char* bytes, std::size_t size) override;

 private:
  void poll(Line& line);
};

/// A publisher that sends one POST after another without waiting for answers: /api/publish, or nchan's
/// /pub/CHANNEL.
class PostDialect final : public Dialect {
 public:
  using Dialect::Dialect;
  void open(Line& line) override;
  std::size_t hear(Line& line, char* bytes, std::size_t size) override;
  void append_publish(std::string& out, std::string_view channel, std::string_view data,
                      std::uint64_t number) override;
};

}  // namespace carillon::load
