#include "gateway/handover.hpp"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace carillon {
namespace {

using Time = std::chrono::steady_clock;
using std::chrono::milliseconds;

struct Handover : testing::Test {
  Handover() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    one.emplace(Descriptor(ends[0]));
    other.emplace(Descriptor(ends[1]));
  }
  static Time::time_point soon() { return Time::now() + milliseconds(20); }
  static Time::time_point later() { return Time::now() + std::chrono::seconds(20); }
  std::optional<HandoverChannel> one;
  std::optional<HandoverChannel> other;
};

TEST_F(Handover, BytesAndDescriptorsArriveTogetherHoweverManyThereAre) {
  for (const std::size_t count : {0U, 1U, 253U, 254U, 800U}) {
    std::vector<int> pipes(2 * count);
    for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(::pipe(pipes.data() + 2 * i), 0);
    std::vector<int> reads;
    for (std::size_t i = 0; i < count; ++i) reads.push_back(pipes[2 * i]);
    const std::string body(3'000'000, 'b');
    std::thread sender([&] { one->send(7, body, reads, later()); });
    const HandoverMessage message = other->receive(later());
    sender.join();
    EXPECT_EQ(message.kind, 7U);
    EXPECT_EQ(message.body, body);
    ASSERT_EQ(message.descriptors.size(), count);
    for (std::size_t i = 0; i < count; i += 100) {  // in order
      const char letter = static_cast<char>('a' + i / 100);
      ASSERT_EQ(::write(pipes[2 * i + 1], &letter, 1), 1);
      char read = 0;
      ASSERT_EQ(::read(message.descriptors[i].get(), &read, 1), 1);
      EXPECT_EQ(read, letter);
    }
    for (const int each : pipes) ::close(each);
  }
}

TEST_F(Handover, WhoWaitsInVainIsToldInTime) {
  EXPECT_THROW(std::ignore = other->receive(soon()), HandoverError);
  const std::string much(10'000'000, 'x');  // more than the kernel takes
  EXPECT_THROW(one->send(1, much, {}, soon()), HandoverError);
}

TEST_F(Handover, TheLastWordIsHeardByBothOrByNobody) {
  other->send(4, {}, {}, soon());
  EXPECT_TRUE(one->decide(4, Time::now())) << "sent before, and heard although time is up";
  EXPECT_THROW(other->send(4, {}, {}, soon()), HandoverError) << "after the decision nothing can be sent";
}

TEST_F(Handover, ALastWordThatCameTooLateCannotBeSent) {
  EXPECT_FALSE(one->decide(4, soon()));
  EXPECT_THROW(other->send(4, {}, {}, soon()), HandoverError);  // while both ends are open
}

TEST_F(Handover, TheLastWordOfOneWhoIsGoneCounts) {
  other->send(4, {}, {}, soon());
  other.reset();
  EXPECT_TRUE(one->decide(4, later()));
}

TEST_F(Handover, WhoDiesWithoutItHasNotSaidIt) {
  other.reset();
  const auto before = Time::now();
  EXPECT_FALSE(one->decide(4, later()));
  EXPECT_LT(Time::now() - before, std::chrono::seconds(5)) << "at once";
}

TEST_F(Handover, OnlyTheRightWordDecides) {
  other->send(2, {}, {}, soon());
  EXPECT_FALSE(one->decide(4, soon()));
}

TEST_F(Handover, AnAbortEndsEveryWait) {
  std::thread waiting([&] { EXPECT_THROW(std::ignore = one->receive(later()), HandoverError); });
  std::this_thread::sleep_for(milliseconds(20));
  one->abort();
  waiting.join();
  EXPECT_FALSE(one->decide(4, later()));
}

TEST_F(Handover, OtherBytesAreNoMessage) {
  const std::string web = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
  HandoverChannel channel{Descriptor(ends[0])};
  const Descriptor stranger(ends[1]);
  ASSERT_EQ(::send(stranger.get(), web.data(), web.size(), 0), static_cast<ssize_t>(web.size()));
  EXPECT_THROW(std::ignore = channel.receive(soon()), HandoverError);
}

TEST_F(Handover, ASignalEndsNoWait) {
  struct sigaction before{};
  struct sigaction heard{};
  heard.sa_handler = [](int) {};  // and no SA_RESTART
  ASSERT_EQ(::sigaction(SIGUSR1, &heard, &before), 0);
  std::atomic<bool> is_over{false};
  std::thread waiting([&] {
    EXPECT_TRUE(one->decide(4, later()));
    is_over = true;
  });
  for (int i = 0; i < 20; ++i) {
    ::pthread_kill(waiting.native_handle(), SIGUSR1);
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_FALSE(is_over);
  other->send(4, {}, {}, soon());
  waiting.join();
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(HandoverPath, WhatIsNotASocketIsNeverDeleted) {
  const std::string path = testing::TempDir() + "/carillon-" + std::to_string(::getpid()) + "-important";
  const auto expect_refusal = [&] {
    try {
      const HandoverListener listener(path);
      ADD_FAILURE() << "listens";
    } catch (const HandoverError& error) {
      EXPECT_NE(std::string(error.what()).find("is not a socket"), std::string::npos) << error.what();
    }
  };
  std::ofstream(path) << "important";
  expect_refusal();
  EXPECT_EQ(std::filesystem::file_size(path), 9U);
  std::filesystem::remove(path);
  std::filesystem::create_symlink(path + "-elsewhere", path);
  expect_refusal();
  EXPECT_TRUE(std::filesystem::is_symlink(path));
  std::filesystem::remove(path);
  const HandoverListener listener(path);
  std::filesystem::remove(path);  // somebody else's file takes its place
  std::ofstream(path) << "important";
  listener.remove_path();
  EXPECT_EQ(std::filesystem::file_size(path), 9U);
  std::filesystem::remove(path);
}

TEST(HandoverPath, OneThatIsTooLongIsToldWithItsLimit) {
  try {
    const HandoverListener listener("/tmp/" + std::string(200, 'x'));
    FAIL();
  } catch (const HandoverError& error) {
    EXPECT_NE(std::string(error.what()).find("107 bytes"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace carillon
