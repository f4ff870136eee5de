// A request in the plain form is read without Beast. What Beast would read is the measure.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "doubles/seeded_random.hpp"
#include "doubles/seeds.hpp"
#include "gateway/beast_http.hpp"

namespace carillon {
namespace {

struct Outcome {
  HttpReader::Step step = HttpReader::Step::need_more;
  std::size_t consumed = 0;
  std::shared_ptr<HttpReader> reader;  // has the request's texts
  HttpRequest request;
};

/// The first `first` bytes come alone: a head that comes in two pieces is not a plain one.
Outcome outcome_of(std::string_view text, std::size_t first) {
  const BeastHttp http;
  Outcome outcome;
  outcome.reader = http.make_reader(512, 64);
  std::size_t size = first;
  while (!text.empty()) {
    const std::string piece(text.substr(0, size));
    size = text.size();
    const HttpReader::Result result = outcome.reader->read(piece);
    outcome.step = result.step;
    outcome.consumed += result.consumed;
    text.remove_prefix(result.consumed);
    if (result.step == HttpReader::Step::request) outcome.request = outcome.reader->request();
    if (result.step == HttpReader::Step::request || result.step == HttpReader::Step::refused) break;
  }
  return outcome;
}

std::string random_request(SeededRandom& random) {
  const auto pick = [&random](const auto& words) { return std::string(words[random.below(words.size())]); };
  static constexpr std::array<std::string_view, 4> kMethods{"GET", "POST", "PROPFIND", "get"};
  static constexpr std::array<std::string_view, 4> kTargets{"/", "/api/publish?x=%41", "http://h/a", "*"};
  static constexpr std::array<std::string_view, 3> kVersions{"1.1", "1.1", "1.0"};
  static constexpr std::array<std::string_view, 24> kLines{"Host: localhost:8000",
                                                           "host:h",
                                                           "Host: ",
                                                           "Content-Length: 5",
                                                           "content-length: 5",
                                                           "Content-Length: 0",
                                                           "Content-Length: 65",
                                                           "Content-Length: 5, 5",
                                                           "Content-Length: 05",
                                                           "Transfer-Encoding: chunked",
                                                           "Transfer-Encoding: gzip",
                                                           "Connection: close",
                                                           "Connection: Keep-Alive",
                                                           "Connection: upgrade",
                                                           "Connection: keep-alive, close",
                                                           "Proxy-Connection: close",
                                                           "X-A: b",
                                                           "x-a: c",
                                                           "Cookie: a=b; c=d",
                                                           "Accept: */*",
                                                           "Authorization: apikey  k ",
                                                           "X-Empty:",
                                                           " folded",
                                                           "Expect: 100-continue"};
  std::string text = pick(kMethods) + ' ' + pick(kTargets) + " HTTP/" + pick(kVersions) + "\r\n";
  if (random.chance(80)) text += "Host: h\r\n";
  for (std::uint64_t lines = random.below(5); lines > 0; --lines) text += pick(kLines) + "\r\n";
  text += "\r\nhello, and what comes next\r\n\r\n";
  for (std::uint64_t faults = random.below(4); faults > 1; --faults) {
    static constexpr std::string_view kFaults("\r\n\t :,\0\x01\x7f\xc3z0", 12);
    const char fault = kFaults[random.below(kFaults.size())];
    const std::size_t at = random.below(text.size());
    switch (random.below(3)) {
      case 0:
        text[at] = fault;
        break;
      case 1:
        text.insert(at, 1, fault);
        break;
      default:
        text.erase(at, 1 + random.below(3));
    }
  }
  return text;
}

TEST(RequestReader, ReadsAndRefusesWhatTheFullParserDoes) {
  const Seeds seeds = seeds_to_play(20'000);
  std::size_t read = 0;
  for (std::uint64_t seed = seeds.first; seed < seeds.first + seeds.count; ++seed) {
    SeededRandom random(seed);
    const std::string text = random_request(random);
    const Outcome plain = outcome_of(text, text.size());
    const Outcome full = outcome_of(text, 1);
    const std::string shown = "seed " + std::to_string(seed) + ": " + testing::PrintToString(text);
    ASSERT_EQ(plain.step, full.step) << shown;
    if (plain.step != HttpReader::Step::request) continue;
    ++read;
    ASSERT_EQ(plain.consumed, full.consumed) << shown;
    ASSERT_EQ(plain.request.method, full.request.method) << shown;
    ASSERT_EQ(plain.request.target, full.request.target) << shown;
    ASSERT_TRUE(std::equal(plain.request.headers.begin(), plain.request.headers.end(),
                           full.request.headers.begin(), full.request.headers.end()))
        << shown;
    ASSERT_EQ(plain.request.body, full.request.body) << shown;
    ASSERT_EQ(plain.request.content_length, full.request.content_length) << shown;
    ASSERT_EQ(plain.request.is_keep_alive, full.request.is_keep_alive) << shown;
    ASSERT_EQ(plain.request.is_http_1_0, full.request.is_http_1_0) << shown;
    ASSERT_EQ(plain.request.is_chunked, full.request.is_chunked) << shown;
  }
  if (!seeds.is_replay) {
    EXPECT_GT(read, seeds.count / 4);
  }
}

TEST(RequestReader, APlainHeadHasTheSameLimitAsAnother) {
  const std::string start = "GET / HTTP/1.1\r\nHost: h\r\nX: ";
  const std::size_t rest = 512 - start.size() - 4;
  for (const std::size_t first : {std::size_t{1}, std::size_t{1'000}}) {
    EXPECT_EQ(outcome_of(start + std::string(rest, 'x') + "\r\n\r\n", first).step, HttpReader::Step::request);
    EXPECT_EQ(outcome_of(start + std::string(rest + 1, 'x') + "\r\n\r\n", first).step,
              HttpReader::Step::refused);
  }
}

}  // namespace
}  // namespace carillon
