#include "deflate/deflate.hpp"

#include <algorithm>
#include <boost/beast/core/error.hpp>
#include <boost/beast/zlib/deflate_stream.hpp>
#include <boost/beast/zlib/inflate_stream.hpp>

namespace carillon {

namespace zlib = boost::beast::zlib;

namespace {

/// A power of two: hash chains and pending symbols of the compressor. 5 suits the window.
constexpr int kMemoryLevel = 5;
/// Peers may use the largest window that there is.
constexpr int kPeerWindowBits = 15;
/// An empty stored block: the end of every flushed message, which stays off the wire.
constexpr std::string_view kTail("\x00\x00\xFF\xFF", 4);
/// First output of inflate(), as a multiple of its input. It grows from there.
constexpr std::size_t kFirstRatio = 4;

}  // namespace

bool deflate(std::string_view message, int level, std::string& out) {
  thread_local zlib::deflate_stream stream;
  thread_local int stream_level = 0;
  if (stream_level == level) {
    stream.reset();
  } else {
    stream.reset(level, kDeflateWindowBits, kMemoryLevel, zlib::Strategy::normal);
    stream_level = level;
  }
  const std::size_t begin = out.size();
  out.resize(begin + message.size() + kTail.size());
  zlib::z_params step;
  step.next_in = message.data();
  step.avail_in = message.size();
  step.next_out = out.data() + begin;
  step.avail_out = out.size() - begin;
  boost::beast::error_code error;
  stream.write(step, zlib::Flush::sync, error);
  // With no room left, something may still be pending.
  const bool is_whole = !error && step.avail_in == 0 && step.avail_out > 0 && step.total_out > kTail.size();
  const std::size_t bytes = is_whole ? step.total_out - kTail.size() : message.size();
  if (bytes >= message.size()) {
    out.resize(begin);
    return false;
  }
  out.resize(begin + bytes);
  return true;
}

InflateResult inflate(std::string_view compressed, std::size_t bytes_max, std::string& out) {
  thread_local zlib::inflate_stream stream;
  stream.reset(kPeerWindowBits);
  const std::size_t room = bytes_max + 1;  // who fills it has sent too much
  out.resize(std::min(room, std::max<std::size_t>(kFirstRatio * compressed.size(), 256)));
  std::size_t made = 0;
  for (const std::string_view part : {compressed, kTail}) {
    zlib::z_params step;
    step.next_in = part.data();
    step.avail_in = part.size();
    for (;;) {
      step.next_out = out.data() + made;
      step.avail_out = out.size() - made;
      boost::beast::error_code error;
      stream.write(step, zlib::Flush::sync, error);
      made = out.size() - step.avail_out;
      if (made == room) return InflateResult::too_long;
      if (error == zlib::error::end_of_stream) {
        stream.reset(kPeerWindowBits);  // a final block need not be the last one
      } else if (error && error != zlib::error::need_buffers) {
        return InflateResult::broken;
      }
      if (step.avail_out > 0 && step.avail_in == 0) break;
      if (step.avail_out > 0 && error == zlib::error::need_buffers) return InflateResult::broken;
      if (step.avail_out == 0) out.resize(std::min(room, 2 * out.size()));
    }
  }
  out.resize(made);
  return InflateResult::whole;
}

}  // namespace carillon
