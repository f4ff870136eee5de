#include "load/settings.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace carillon::load {
namespace {

Settings good() {
  Settings settings;
  settings.seconds = 1;
  return settings;
}

std::string complaint(const Settings& settings) {
  try {
    check(settings);
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return {};
}

TEST(LoadSettings, TheDefaultsAreRight) { EXPECT_EQ(complaint(good()), ""); }

TEST(LoadSettings, AComplaintNamesFieldAndValue) {
  Settings settings = good();
  settings.transport = "carrier pigeon";
  EXPECT_EQ(complaint(settings), "transport: 'carrier pigeon' is none of ws, sse, poll");
  settings = good();
  settings.channels = 2'000;
  EXPECT_TRUE(complaint(settings).starts_with("channels: 2000 for 1000 subscriptions"));
  settings = good();
  settings.channels_per_connection = 2;
  EXPECT_TRUE(complaint(settings).starts_with("channels_per_connection: 2"));
  settings = good();
  settings.payload_bytes = 19;
  EXPECT_TRUE(complaint(settings).starts_with("payload_bytes: 19"));
  settings = good();
  settings.channel = "a~b";
  EXPECT_TRUE(complaint(settings).starts_with("channel: 'a~b'"));
  settings = good();
  settings.seconds = 0;
  EXPECT_TRUE(complaint(settings).starts_with("seconds: 0"));
  settings = good();
  settings.ports = {1, 2};
  EXPECT_TRUE(complaint(settings).starts_with("ports: 2 for 1 workers"));
  settings = good();
  settings.protocol = "nchan";
  EXPECT_TRUE(complaint(settings).starts_with("publish_by: 'ws' with nchan"));
}

TEST(LoadSettings, APublisherAloneWaitsForItsReplies) {
  Settings settings = good();
  settings.connections = 0;
  EXPECT_TRUE(complaint(settings).starts_with("connections: 0"));
  settings.awaits_replies = true;
  settings.channels = 3;
  EXPECT_EQ(complaint(settings), "");
  settings.protocol = "raw";
  EXPECT_TRUE(complaint(settings).starts_with("awaits_replies"));
  settings = good();
  settings.slice_s = 0.000'1;
  EXPECT_TRUE(complaint(settings).starts_with("slice_s"));
}

TEST(LoadSettings, SharesCoverEveryConnectionOnce) {
  Settings settings = good();
  settings.connections = 10'001;
  settings.workers = 7;
  std::uint64_t next = 0;
  for (std::uint32_t worker = 0; worker < 7; ++worker) {
    const Share share = share_of(settings, worker);
    EXPECT_EQ(share.first, next);
    EXPECT_NEAR(static_cast<double>(share.size()), 10'001.0 / 7, 1);
    next = share.last;
  }
  EXPECT_EQ(next, 10'001U);
}

TEST(Mark, IsFoundInWhateverIsWrappedAround) {
  std::string data;
  write_data(data, 1'234, 64);
  EXPECT_EQ(data.size(), 64U);
  EXPECT_TRUE(data.starts_with("\"~0000000000001234~x"));
  EXPECT_TRUE(data.ends_with("x\""));
  const std::string envelope = R"(~ ~000000000000000z~ {"a~b":)" + data + "}," + data + "~";
  std::string_view text = envelope;
  std::uint64_t number = 0;
  EXPECT_TRUE(next_mark(text, number));
  EXPECT_EQ(number, 1'234U);
  EXPECT_TRUE(next_mark(text, number));
  EXPECT_FALSE(next_mark(text, number));
  text = "~0000000000001234";
  EXPECT_FALSE(next_mark(text, number));
}

TEST(Records, AreDataWithAMarkLikeOthers) {
  Settings settings;
  settings.has_records = true;
  for (const std::uint64_t bytes : {kPayloadBytesMin, std::size_t{30}, std::size_t{2'048}}) {
    settings.payload_bytes = bytes;
    std::string first;
    std::string second;
    write_data(first, 7, settings);
    write_data(second, 8, settings);
    EXPECT_EQ(first.size(), bytes);
    EXPECT_EQ(first.back(), '"');
    EXPECT_EQ(first.find('"', 1), first.size() - 1) << first;
    std::string_view text = first;
    std::uint64_t number = 0;
    EXPECT_TRUE(next_mark(text, number));
    EXPECT_EQ(number, 7U);
    EXPECT_FALSE(next_mark(text, number));
    if (bytes > 100) {
      EXPECT_NE(first.substr(kMarkBytes + 1), second.substr(kMarkBytes + 1));
    }
    write_data(second, 7, settings);
    EXPECT_EQ(first, second);
  }
}

}  // namespace
}  // namespace carillon::load
