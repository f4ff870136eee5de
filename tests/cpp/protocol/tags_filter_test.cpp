#include "protocol/tags_filter.hpp"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "protocol/protobuf.hpp"

namespace carillon {
namespace {

const std::vector<Tag> kTags{{"team", "a"}, {"prio", "10"}, {"text", "über"}};

bool json_passes(std::string_view text, const std::vector<Tag>& tags = kTags) {
  const auto filter = TagsFilter::from_json(text);
  EXPECT_TRUE(filter) << text;
  return filter && filter->passes(tags);
}

TEST(TagsFilter, EveryComparison) {
  struct Case {
    std::string_view leaf;
    bool passes;
  };
  for (const Case& each : {
           Case{R"({"key":"team","cmp":"eq","val":"a"})", true},
           Case{R"({"key":"team","cmp":"eq","val":"b"})", false},
           Case{R"({"key":"none","cmp":"eq"})", false},
           Case{R"({"key":"team","cmp":"neq","val":"a"})", false},
           Case{R"({"key":"team","cmp":"neq","val":"b"})", true},
           Case{R"({"key":"none","cmp":"neq","val":"b"})", true},
           Case{R"({"key":"team","cmp":"in","vals":["b","a"]})", true},
           Case{R"({"key":"team","cmp":"in","vals":["b"]})", false},
           Case{R"({"key":"team","cmp":"in"})", false},
           Case{R"({"key":"team","cmp":"nin","vals":["b","a"]})", false},
           Case{R"({"key":"none","cmp":"nin","vals":["b"]})", true},
           Case{R"({"key":"team","cmp":"ex"})", true},
           Case{R"({"key":"none","cmp":"ex"})", false},
           Case{R"({"key":"team","cmp":"nex"})", false},
           Case{R"({"key":"none","cmp":"nex"})", true},
           Case{R"({"key":"text","cmp":"sw","val":"\u00fc"})", true},
           Case{R"({"key":"text","cmp":"sw","val":"b"})", false},
           Case{R"({"key":"text","cmp":"ew","val":"er"})", true},
           Case{R"({"key":"text","cmp":"ew","val":"be"})", false},
           Case{R"({"key":"text","cmp":"ct","val":"be"})", true},
           Case{R"({"key":"text","cmp":"ct","val":"x"})", false},
           Case{R"({"key":"prio","cmp":"lt","val":"9"})", false},
           Case{R"({"key":"prio","cmp":"lt","val":"10.5"})", true},
           Case{R"({"key":"prio","cmp":"lte","val":"10.0"})", true},
           Case{R"({"key":"prio","cmp":"lte","val":"-11"})", false},
           Case{R"({"key":"prio","cmp":"gt","val":"9"})", true},
           Case{R"({"key":"prio","cmp":"gt","val":"010"})", false},
           Case{R"({"key":"prio","cmp":"gte","val":"10"})", true},
           Case{R"({"key":"team","cmp":"gte","val":"0"})", false},
           Case{R"({"key":"none","cmp":"lt","val":"0"})", false},
           Case{R"({"op":null,"key":"team","cmp":"eq","val":"a","nodes":null,"more":1})", true},
       })
    EXPECT_EQ(json_passes(each.leaf), each.passes) << each.leaf;
}

TEST(TagsFilter, NumbersAreComparedExactly) {
  const std::string big(40, '9');
  EXPECT_TRUE(json_passes(R"({"key":"n","cmp":"gt","val":")" + big + "\"}", {{"n", big + ".1"}}));
  EXPECT_FALSE(json_passes(R"({"key":"n","cmp":"gt","val":")" + big + "\"}", {{"n", big}}));
  EXPECT_TRUE(json_passes(R"({"key":"n","cmp":"lt","val":"-0.5"})", {{"n", "-0.75"}}));
  EXPECT_TRUE(json_passes(R"({"key":"n","cmp":"gte","val":"-0"})", {{"n", "0.00"}}));
}

TEST(TagsFilter, TreesJoinTheirLeaves) {
  const std::string yes = R"({"key":"team","cmp":"eq","val":"a"})";
  const std::string no = R"({"key":"team","cmp":"eq","val":"b"})";
  const auto join = [](std::string_view op, const std::string& nodes) {
    return R"({"op":")" + std::string(op) + R"(","nodes":[)" + nodes + "]}";
  };
  EXPECT_TRUE(json_passes(join("and", yes + "," + yes)));
  EXPECT_FALSE(json_passes(join("and", yes + "," + no)));
  EXPECT_TRUE(json_passes(join("or", no + "," + yes)));
  EXPECT_FALSE(json_passes(join("or", no + "," + no)));
  EXPECT_TRUE(json_passes(join("not", no)));
  EXPECT_TRUE(json_passes(join("not", join("and", yes + "," + no))));
}

TEST(TagsFilter, WhatIsMalformed) {
  std::string deep = R"({"key":"a","cmp":"ex"})";
  for (std::size_t i = 1; i < TagsFilter::kDepthMax; ++i) deep = R"({"op":"not","nodes":[)" + deep + "]}";
  EXPECT_TRUE(TagsFilter::from_json(deep));
  EXPECT_FALSE(TagsFilter::from_json(R"({"op":"not","nodes":[)" + deep + "]}")) << "one level too many";
  std::string wide = R"({"key":"a","cmp":"in","vals":["x")";
  for (std::size_t i = 2; i < TagsFilter::kPartsMax; ++i) wide += ",\"x\"";
  EXPECT_TRUE(TagsFilter::from_json(wide + "]}"));
  EXPECT_FALSE(TagsFilter::from_json(wide + ",\"x\"]}")) << "one part too many";
  for (const std::string_view text :
       {"",
        "null",
        "[]",
        "1",
        R"("a")",
        "{}",
        R"({"op":"eq"})",
        R"({"cmp":"eq","val":"a"})",
        R"({"key":"a"})",
        R"({"key":"a","cmp":"is"})",
        R"({"key":1,"cmp":"ex"})",
        R"({"op":"and"})",
        R"({"op":"and","nodes":[]})",
        R"({"op":"not","nodes":[]})",
        R"({"op":"and","nodes":[1]})",
        R"({"op":"not","nodes":[{"key":"a","cmp":"ex"},{"key":"b","cmp":"ex"}]})",
        R"({"key":"a","cmp":"ex","nodes":[{"key":"b","cmp":"ex"}]})",
        R"({"key":"a","cmp":"gt","val":"x"})",
        R"({"key":"a","cmp":"gt","val":"1."})",
        R"({"key":"a","cmp":"in","vals":[1]})",
        R"({"key":"a","cmp":"in","vals":[null]})"})
    EXPECT_FALSE(TagsFilter::from_json(text)) << text;
}

TEST(TagsFilter, TheSameInProtobuf) {
  std::string leaf;
  ProtobufWriter one(leaf);
  one.bytes(2, "team");
  one.bytes(3, "in");
  one.bytes(5, "b");
  one.bytes(5, "a");
  ASSERT_TRUE(TagsFilter::from_protobuf(leaf));
  EXPECT_TRUE(TagsFilter::from_protobuf(leaf)->passes(kTags));
  std::string tree;
  ProtobufWriter root(tree);
  root.bytes(1, "not");
  root.bytes(6, leaf);
  ASSERT_TRUE(TagsFilter::from_protobuf(tree));
  EXPECT_FALSE(TagsFilter::from_protobuf(tree)->passes(kTags));
  EXPECT_FALSE(TagsFilter::from_protobuf(tree + "\x32\x05")) << "cut";
  std::string number;
  ProtobufWriter(number).number(2, 5);
  EXPECT_FALSE(TagsFilter::from_protobuf(number)) << "a key is text";
  EXPECT_FALSE(TagsFilter::from_protobuf(""));
  std::string deep = leaf;
  for (std::size_t i = 0; i < TagsFilter::kDepthMax; ++i) {
    std::string outer;
    ProtobufWriter writer(outer);
    writer.bytes(1, "not");
    writer.bytes(6, deep);
    deep = outer;
  }
  EXPECT_FALSE(TagsFilter::from_protobuf(deep));
  std::string wide;
  ProtobufWriter many(wide);
  many.bytes(2, "team");
  many.bytes(3, "in");
  for (std::size_t i = 1; i < TagsFilter::kPartsMax; ++i) many.bytes(5, "x");
  EXPECT_TRUE(TagsFilter::from_protobuf(wide));
  many.bytes(5, "x");
  EXPECT_FALSE(TagsFilter::from_protobuf(wide)) << "one part too many";
}

}  // namespace
}  // namespace carillon
