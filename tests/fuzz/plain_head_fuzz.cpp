// Fuzz target of the reader of plain request heads. What it accepts, Beast reads as the same request: of the
// same length, with the same fields, and with the same idea of where its body ends. Else requests could be
// smuggled.

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/none.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "protocol/plain_head.hpp"

namespace {

namespace http = boost::beast::http;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto buffer = std::make_unique<char[]>(size);  // of this size: the sanitizer sees a step past its end
  std::copy_n(data, size, buffer.get());
  const std::string_view text(buffer.get(), size);
  carillon::PlainHead head;
  if (!head.read(text)) return 0;

  http::request_parser<http::empty_body> parser;
  parser.body_limit(boost::none);
  boost::beast::error_code error;
  std::size_t used = 0;
  while (used < head.bytes() && !parser.is_header_done()) {
    const std::size_t step =
        parser.put(boost::asio::const_buffer(text.data() + used, head.bytes() - used), error);
    used += step;
    if (error || step == 0) break;
  }
  require(!error || error == http::error::need_more, "Beast has no objection");
  require(parser.is_header_done(), "the head is whole");
  require(used == head.bytes(), "both read the same bytes");
  const auto& message = parser.get();
  require(message.method_string() == head.method(), "the method");
  require(message.target() == head.target(), "the target");
  require(message.version() == 11, "the version");
  require(!parser.chunked(), "the body is not chunked");
  require(parser.content_length().value_or(0) == head.content_length(), "the length of the body");
  require(parser.keep_alive() == head.is_keep_alive(), "whether the connection goes on");
  std::size_t count = 0;
  for (const auto& field : message) {
    const auto same = std::ranges::find_if(head.fields(), [&field](const auto& each) {
      return each.name == field.name_string() && each.value == field.value();
    });
    require(same != head.fields().end(), "a field");
    ++count;
  }
  require(count == head.fields().size(), "the number of fields");
  require(message.count(http::field::host) == 1, "one Host");
  return 0;
}
