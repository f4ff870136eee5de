#include "protocol/ws_extensions.hpp"

#include <gtest/gtest.h>

#include <string>

namespace carillon {
namespace {

const std::string kAnswer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

std::string accepted(std::string_view offers) {
  return accept_permessage_deflate(offers, 12).value_or("none");
}

TEST(WsExtensions, AnOfferIsAccepted) {
  for (const char* offers : {
           "permessage-deflate",
           "permessage-deflate; client_max_window_bits",
           "permessage-deflate; client_max_window_bits=8",
           "permessage-deflate;client_max_window_bits=\"15\"",
           "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
           "permessage-deflate ; client_no_context_takeover\t; client_max_window_bits ; "
           "server_no_context_takeover",
           " , permessage-deflate,",
       })
    EXPECT_EQ(accepted(offers), kAnswer) << offers;
}

TEST(WsExtensions, TheServersWindowIsToldWhereTheClientLimitsIt) {
  for (const char* bits : {"12", "13", "15", "\"15\"", "\"1\\5\""})
    EXPECT_EQ(accepted(std::string("permessage-deflate; server_max_window_bits=") + bits),
              kAnswer + "; server_max_window_bits=12")
        << bits;
  EXPECT_EQ(accepted("permessage-deflate; client_max_window_bits=12; server_max_window_bits=12"),
            kAnswer + "; server_max_window_bits=12");
  EXPECT_EQ(accepted("permessage-deflate; server_max_window_bits=11"), "none") << "ours is larger";
}

TEST(WsExtensions, OffersThatAreNotValidArePassedOver) {
  for (const char* parameter : {
           "server_max_window_bits",
           "server_max_window_bits=7",
           "server_max_window_bits=16",
           "server_max_window_bits=012",
           "server_max_window_bits=12x",
           "server_max_window_bits=99999999999999999999",
           "server_max_window_bits=\"\"",
           "server_max_window_bits=12; server_max_window_bits=12",
           "client_max_window_bits=7",
           "client_max_window_bits=16",
           "client_max_window_bits=+9",
           "client_max_window_bits; client_max_window_bits=9",
           "server_no_context_takeover=1",
           "client_no_context_takeover=true",
           "client_no_context_takeover; client_no_context_takeover",
           "server_no_context_takeover; server_no_context_takeover",
           "mystery",
           "mystery=3",
       }) {
    const std::string offer = std::string("permessage-deflate; ") + parameter;
    EXPECT_EQ(accepted(offer), "none") << offer;
    EXPECT_EQ(accepted(offer + ", permessage-deflate"), kAnswer) << "the next one counts: " << offer;
  }
}

TEST(WsExtensions, OthersAreNotForUs) {
  for (const char* offers : {"", " ", ",", ",,", "x-webkit-deflate-frame", "deflate", "permessage-deflatex",
                             "xpermessage-deflate", "PERMESSAGE-DEFLATE"})
    EXPECT_EQ(accepted(offers), "none") << offers;
  EXPECT_EQ(accepted("x-webkit-deflate-frame; no_context_takeover, foo; a=\"b, c; d\", permessage-deflate"),
            kAnswer);
}

TEST(WsExtensions, WhatCannotBeReadEndsTheList) {
  for (const char* offers :
       {"; permessage-deflate", "foo=1, permessage-deflate", "foo; =1, permessage-deflate",
        "foo; a=, permessage-deflate", "foo; a=\"b, permessage-deflate", "foo; a=\"b\\",
        "permessage-deflate client_max_window_bits", "permessage-deflate;", "permessage-deflate; a=\x01"})
    EXPECT_EQ(accepted(offers), "none") << offers;
}

TEST(WsExtensions, TheAnswerIsItselfAnOfferThatIsAccepted) {
  EXPECT_EQ(accepted(accepted("permessage-deflate; server_max_window_bits=14")),
            accepted("permessage-deflate; server_max_window_bits=14"));
}

}  // namespace
}  // namespace carillon
