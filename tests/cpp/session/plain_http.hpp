#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "session/http_message.hpp"

namespace carillon::testing {

/// Header lines up to the empty one; names in lower case.
[[nodiscard]] std::vector<std::pair<std::string, std::string>> read_headers(std::string_view lines);

/// A small HTTP reader, so that the sessions' tests need no library: heads end with an empty line, bodies
/// have a Content-Length. Anything whose first line has not three words is refused.
class PlainHttp final : public HttpLibrary {
 public:
  [[nodiscard]] std::unique_ptr<HttpReader> make_reader(std::size_t header_bytes_max,
                                                        std::size_t body_bytes_max) const override;
  [[nodiscard]] bool is_websocket_upgrade(const HttpRequest& request) const override;
  [[nodiscard]] Upgrade upgrade(const HttpRequest& request, std::string_view subprotocol,
                                std::string_view extensions) const override;
};

/// Refuses `/forbidden` and what is asked with `X-API-Key: wrong`. Answers `/now` with its target, `/echo`
/// with its body, `/big` with a large one, `/later` when released,
/// `/nowhere` with 404, anything else with an empty object.
class TestHandler final : public HttpHandler {
 public:
  [[nodiscard]] std::optional<HttpResponse> refusal_of(const HttpRequest& head, const HttpTarget& target,
                                                       bool /*is_internal*/) const override;
  void handle(const HttpRequest& request, BodyBudget::Share body_memory, const HttpTarget& target,
              Respond respond) override;
  std::vector<std::pair<std::string, Respond>> waiting;  ///< path with query, and how to answer
  std::vector<BodyBudget::Share> body_memories;          ///< of those that wait
  std::size_t big_bytes = 100'000;
  std::function<void()> on_request;  ///< before each
};

}  // namespace carillon::testing
