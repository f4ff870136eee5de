#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

namespace carillon {

using Json = nlohmann::json;

/// The value that `append(out)` writes, in one line as every transport needs it.
template <typename Append>
Json written(Append append) {
  std::string out;
  append(out);
  EXPECT_EQ(out.find('\n'), std::string::npos);
  return Json::parse(out);
}

}  // namespace carillon
