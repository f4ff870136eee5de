#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace carillon {

/// Largest window that deflate() refers back in, as a power of two: 4 KiB. Peers with a window of
/// at least that size can inflate the result.
inline constexpr int kDeflateWindowBits = 12;

/// Compresses a message for permessage-deflate (RFC 7692 section 7.2.1), into the end of `out`: blocks that
/// refer to nothing outside of the message. `level`: 1 is the fastest, 9 makes the shortest. False, with
/// `out` as it was: the result would not be shorter than the message. One compressor per thread, with some 50
/// KiB.
[[nodiscard]] bool deflate(std::string_view message, int level, std::string& out);

enum class InflateResult : std::uint8_t { whole, too_long, broken };

/// Undoes what a peer has done that keeps no window between messages (RFC 7692 section 7.2.2). `out`, which
/// is replaced, never grows beyond `bytes_max` and a byte, whatever the input claims. One inflater per
/// thread, with some 40 KiB.
[[nodiscard]] InflateResult inflate(std::string_view compressed, std::size_t bytes_max, std::string& out);

}  // namespace carillon
