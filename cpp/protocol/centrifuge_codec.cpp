#include "protocol/centrifuge_codec.hpp"

#include "protocol/centrifuge_json.hpp"
#include "protocol/centrifuge_protobuf.hpp"

namespace carillon {

const CentrifugeCodec& codec_of(Encoding encoding) {
  static const CentrifugeProtobufCodec protobuf;
  if (encoding == Encoding::protobuf) return protobuf;
  return centrifuge_json_codec();
}

}  // namespace carillon
