#include "load/inflate.hpp"

#include <boost/beast/core/error.hpp>
#include <boost/beast/zlib/inflate_stream.hpp>

namespace carillon::load {

namespace zlib = boost::beast::zlib;

std::optional<std::string> inflate_message(std::string_view compressed) {
  constexpr int kWindowBits = 15;
  constexpr std::size_t kBytesMax = 1U << 24;
  constexpr std::string_view kTail("\x00\x00\xFF\xFF", 4);
  thread_local zlib::inflate_stream stream;
  stream.reset(kWindowBits);
  std::string input(compressed);
  input.append(kTail);
  std::string text(8 * input.size(), '\0');
  zlib::z_params step;
  step.next_in = input.data();
  step.avail_in = input.size();
  for (std::size_t made = 0; text.size() < kBytesMax; text.resize(2 * text.size())) {
    step.next_out = text.data() + made;
    step.avail_out = text.size() - made;
    boost::beast::error_code error;
    stream.write(step, zlib::Flush::sync, error);
    made = text.size() - step.avail_out;
    if (error && error != zlib::error::need_buffers) return std::nullopt;
    if (step.avail_out == 0) continue;
    text.resize(made);
    return text;
  }
  return std::nullopt;
}

}  // namespace carillon::load
