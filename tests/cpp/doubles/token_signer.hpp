#pragma once

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "protocol/base64.hpp"

// Signs tokens for tests: with a secret, or with a private key that is made here.

namespace carillon::testing {

inline std::string base64url(std::string_view bytes) {
  std::string text;
  append_base64(text, bytes);
  std::replace(text.begin(), text.end(), '+', '-');
  std::replace(text.begin(), text.end(), '/', '_');
  text.resize(std::min(text.find('='), text.size()));
  return text;
}

/// HS256.
inline std::string signed_token(std::string_view secret, std::string_view payload,
                                std::string_view header = R"({"alg":"HS256","typ":"JWT"})") {
  std::string text = base64url(header) + "." + base64url(payload);
  unsigned char code[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), code, &length);
  text += "." + base64url({reinterpret_cast<const char*>(code), length});
  return text;
}

}  // namespace carillon::testing
