#include "protocol/sse_event.hpp"

#include <gtest/gtest.h>

namespace carillon {
namespace {

TEST(SseEvent, IsByteForByteWhatTheContractSays) {
  std::string out;
  append_sse_retry(out, 2000);
  append_sse_id(out, "kQwZabcd:12");
  append_sse_status(out, "news", true, "kQwZabcd", 12, false);
  append_sse_id(out, "kQwZabcd:13");
  append_sse_data(out, "news", {.data = R"({"t":"hello"})", .offset = 13});
  append_sse_comment(out);
  EXPECT_EQ(out,
            "retry: 2000\n\n"
            "id: kQwZabcd:12\n"
            "event: status\n"
            "data: {\"channel\":\"news\",\"recovered\":true,\"epoch\":\"kQwZabcd\",\"offset\":12}\n\n"
            "id: kQwZabcd:13\n"
            "data: {\"channel\":\"news\",\"offset\":13,\"data\":{\"t\":\"hello\"}}\n\n"
            ":\n\n");
}

TEST(SseEvent, DataStaysOnOneLine) {
  std::string out;
  append_sse_data(out, "a\r\nb", {.data = "[1,\r\n\r2]", .offset = 1});
  EXPECT_EQ(out, "data: {\"channel\":\"a\\r\\nb\",\"offset\":1,\"data\":[1,2]}\n\n");
}

}  // namespace
}  // namespace carillon
