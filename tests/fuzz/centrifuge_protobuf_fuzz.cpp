// Frames of commands, as anybody may send them: every view lies in the frame, text is UTF-8, and decoding
// ends.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "protocol/centrifuge_codec.hpp"
#include "protocol/utf8.hpp"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  using namespace carillon;
  const std::string frame(reinterpret_cast<const char*>(bytes), size);  // at its own end the sanitizer stands
  const auto lies_in_frame = [&](std::string_view view) {
    return view.empty() || (view.data() >= frame.data() && view.data() + view.size() <= frame.data() + size);
  };
  std::string_view rest = frame;
  std::string scratch;
  Command command;
  while (codec_of(Encoding::protobuf).decode(rest, command, scratch) == DecodeStep::command) {
    for (const std::string_view text : {command.channel, command.token, command.method, command.after,
                                        command.delta, command.since, command.epoch}) {
      require(lies_in_frame(text) && is_utf8(text));
    }
    require(lies_in_frame(command.data) && lies_in_frame(rest));
    require(command.id != 0 || command.kind == CommandKind::pong || command.kind == CommandKind::send);
  }
  return 0;
}
