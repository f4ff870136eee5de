#include "sim/redis/redis_script.hpp"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <functional>
#include <lua.hpp>
#include <stdexcept>
#include <unordered_map>
#include <vector>

namespace carillon::sim {

namespace {

/// FNV-1a, three times: the store needs a name that is stable, not Redis' SHA-1.
std::string hash_of_script(std::string_view text) {
  std::string hash;
  for (std::uint64_t start = 0; start < 3; ++start) {
    std::uint64_t bits = 0xcbf29ce484222325U + start;
    for (const char letter : text) bits = (bits ^ static_cast<unsigned char>(letter)) * 0x100000001b3U;
    for (int digit = 0; digit < 16; ++digit, bits <<= 4U) hash += "0123456789abcdef"[bits >> 60U];
  }
  hash.resize(40);
  return hash;
}

std::string_view text_at(lua_State* lua, int index) {
  std::size_t size = 0;
  const char* const text = lua_tolstring(lua, index, &size);
  return text == nullptr ? std::string_view() : std::string_view(text, size);
}

void push_text(lua_State* lua, std::string_view text) { lua_pushlstring(lua, text.data(), text.size()); }

void push_field(lua_State* lua, const char* name, std::string_view text) {
  lua_createtable(lua, 0, 1);
  push_text(lua, text);
  lua_setfield(lua, -2, name);
}

// A script sees the replies of RESP2.
void push_reply(lua_State* lua, const RedisReply& reply, RedisAnswer answer) {
  switch (reply.kind) {
    case RedisReply::Kind::nil:
      lua_pushboolean(lua, 0);
      return;
    case RedisReply::Kind::text:
      return answer == RedisAnswer::status ? push_field(lua, "ok", reply.text) : push_text(lua, reply.text);
    case RedisReply::Kind::number:
      if (answer == RedisAnswer::real) return push_text(lua, reply.text);
      lua_pushnumber(lua, static_cast<lua_Number>(reply.number()));
      return;
    case RedisReply::Kind::error:
      return push_field(lua, "err", reply.text);
    case RedisReply::Kind::array:
      break;
  }
  luaL_checkstack(lua, 2, "replies are nested too deeply");
  lua_createtable(lua, static_cast<int>(reply.items.size()), 0);
  for (std::size_t i = 0; i < reply.items.size(); ++i) {
    push_reply(lua, reply.items[i], RedisAnswer::as_is);
    lua_rawseti(lua, -2, static_cast<int>(i) + 1);
  }
}

/// The text of the field `name` of the table on the top, if it has one.
std::optional<std::string> field_of(lua_State* lua, const char* name) {
  lua_pushstring(lua, name);
  lua_rawget(lua, -2);
  std::optional<std::string> text;
  if (lua_type(lua, -1) == LUA_TSTRING) text = text_at(lua, -1);
  lua_pop(lua, 1);
  return text;
}

/// Takes the value on the top.
RedisReply take_reply(lua_State* lua) {
  RedisReply reply;
  switch (lua_type(lua, -1)) {
    case LUA_TSTRING:
      reply = redis_text(text_at(lua, -1));
      break;
    case LUA_TNUMBER:
      reply = redis_number(static_cast<std::int64_t>(lua_tonumber(lua, -1)));
      break;
    case LUA_TBOOLEAN:
      if (lua_toboolean(lua, -1) != 0) reply = redis_number(1);
      break;
    case LUA_TTABLE:
      if (std::optional<std::string> error = field_of(lua, "err")) {
        reply = redis_error(std::move(*error));
      } else if (const std::optional<std::string> status = field_of(lua, "ok")) {
        reply = redis_text(*status);
      } else if (lua_checkstack(lua, 2) == 0) {
        reply = redis_error("ERR reached lua stack limit");
      } else {
        reply = redis_array(lua_objlen(lua, -1));
        for (int i = 1;; ++i) {
          lua_rawgeti(lua, -1, i);
          if (lua_isnil(lua, -1)) break;
          reply.items.push_back(take_reply(lua));
        }
        lua_pop(lua, 1);
      }
      break;
    default:
      break;
  }
  lua_pop(lua, 1);
  return reply;
}

/// As Redis does it: an error is a table, with the place where it came up.
int explain_error(lua_State* lua) {
  lua_Debug place;
  const bool has_place =
      lua_getstack(lua, 1, &place) != 0 && lua_getinfo(lua, "Sl", &place) != 0 &&
      (*place.what != 'C' || (lua_getstack(lua, 2, &place) != 0 && lua_getinfo(lua, "Sl", &place) != 0));
  if (!lua_istable(lua, 1)) {
    lua_createtable(lua, 0, 3);
    lua_pushliteral(lua, "ERR ");
    if (lua_isstring(lua, 1) != 0) {
      lua_pushvalue(lua, 1);
    } else {
      lua_pushstring(lua, luaL_typename(lua, 1));
    }
    lua_concat(lua, 2);
    lua_setfield(lua, -2, "err");
    lua_replace(lua, 1);
  }
  if (has_place) {
    lua_pushfstring(lua, "%s:%d", place.source, place.currentline);
    lua_setfield(lua, 1, "place");
  }
  lua_settop(lua, 1);
  return 1;
}

int refuse_unknown_global(lua_State* lua) {
  return luaL_error(lua, "Script attempted to access nonexistent global variable '%s'", lua_tostring(lua, 2));
}
int refuse_new_global(lua_State* lua) { return luaL_error(lua, "Attempt to modify a readonly table"); }

}  // namespace

struct RedisLua::State {
  struct Compiled {
    std::shared_ptr<const RedisScriptText> script;
    int function = LUA_NOREF;
  };

  lua_State* const lua = luaL_newstate();
  std::unordered_map<std::string_view, Compiled> by_text;  // the keys are texts of the scripts
  std::unordered_map<std::string_view, const Compiled*> by_hash;
  RedisExecution* caller = nullptr;  // while a script runs
  // Of the command that a script gives; here, because an error in Lua destroys nothing on the stack of C++.
  std::vector<std::string_view> words;
  std::vector<std::array<char, 32>> numbers;

  State() {
    if (lua == nullptr) throw std::bad_alloc();
    static constexpr luaL_Reg kLibraries[] = {{"", luaopen_base},
                                              {LUA_TABLIBNAME, luaopen_table},
                                              {LUA_STRLIBNAME, luaopen_string},
                                              {LUA_MATHLIBNAME, luaopen_math}};
    for (const luaL_Reg& library : kLibraries) {
      lua_pushcfunction(lua, library.func);
      lua_pushstring(lua, library.name);
      lua_call(lua, 1, 0);
    }
    for (const char* const name : {"dofile", "loadfile", "print", "newproxy"}) {
      lua_pushnil(lua);
      lua_setglobal(lua, name);
    }
    lua_getglobal(lua, LUA_MATHLIBNAME);
    for (const char* const name : {"random", "randomseed"}) {  // a script depends on its arguments alone
      lua_pushnil(lua);
      lua_setfield(lua, -2, name);
    }
    lua_pop(lua, 1);
    lua_createtable(lua, 0, 2);
    lua_pushlightuserdata(lua, this);
    lua_pushboolean(lua, 1);
    lua_pushcclosure(lua, call, 2);
    lua_setfield(lua, -2, "call");
    lua_pushlightuserdata(lua, this);
    lua_pushboolean(lua, 0);
    lua_pushcclosure(lua, call, 2);
    lua_setfield(lua, -2, "pcall");
    lua_setglobal(lua, "redis");
    lua_createtable(lua, 0, 2);
    lua_pushcfunction(lua, refuse_unknown_global);
    lua_setfield(lua, -2, "__index");
    lua_pushcfunction(lua, refuse_new_global);
    lua_setfield(lua, -2, "__newindex");
    lua_setmetatable(lua, LUA_GLOBALSINDEX);
  }
  ~State() { lua_close(lua); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  /// redis.call and redis.pcall. Nothing here has a destructor: lua_error() would pass it over.
  static int call(lua_State* lua) {
    auto* const state = static_cast<State*>(lua_touserdata(lua, lua_upvalueindex(1)));
    const bool raises = lua_toboolean(lua, lua_upvalueindex(2)) != 0;
    const bool has_failed = state->carry_out(lua);
    return has_failed && raises ? lua_error(lua) : 1;
  }

  /// Pushes the reply. True: it is an error.
  bool carry_out(lua_State* from) {
    const int size = lua_gettop(from);
    words.clear();
    if (numbers.size() < static_cast<std::size_t>(size)) numbers.resize(static_cast<std::size_t>(size));
    for (int i = 1; i <= size; ++i) {
      const int type = lua_type(from, i);
      if (type == LUA_TSTRING) {
        words.push_back(text_at(from, i));
      } else if (type == LUA_TNUMBER) {
        words.push_back(number_text(lua_tonumber(from, i), numbers[static_cast<std::size_t>(i) - 1]));
      } else {
        push_field(from, "err", "ERR Lua redis lib command arguments must be strings or integers");
        return true;
      }
    }
    if (words.empty()) {
      push_field(from, "err", "ERR Please specify at least one argument for this redis lib call");
      return true;
    }
    RedisExecution run{caller->keys, caller->random, caller->moment, caller->effects, words, true};
    const RedisReply reply = run_redis_command(run);
    const RedisCommandRow* const row = find_redis_command(words[0]);
    push_reply(from, reply, row == nullptr ? RedisAnswer::as_is : row->answer);
    return reply.is_error();
  }

  static std::string_view number_text(lua_Number number, std::array<char, 32>& place) {
    constexpr lua_Number kWhole = 1e15;
    if (number == std::floor(number) && std::abs(number) < kWhole) {
      const auto whole = static_cast<std::int64_t>(number);
      const std::to_chars_result end = std::to_chars(place.data(), place.data() + place.size(), whole);
      return {place.data(), static_cast<std::size_t>(end.ptr - place.data())};
    }
    const int size = std::snprintf(place.data(), place.size(), "%.17g", number);
    return {place.data(), static_cast<std::size_t>(size)};
  }

  const Compiled& compiled(std::string_view text) {
    if (const auto found = by_text.find(text); found != by_text.end()) return found->second;
    if (luaL_loadbuffer(lua, text.data(), text.size(), "@user_script") != 0) {
      std::string why = "ERR Error compiling script (new function): " + std::string(text_at(lua, -1));
      lua_pop(lua, 1);
      throw RedisRefusal{std::move(why)};
    }
    Compiled script{
        std::make_shared<RedisScriptText>(RedisScriptText{hash_of_script(text), std::string(text)})};
    script.function = luaL_ref(lua, LUA_REGISTRYINDEX);
    const std::shared_ptr<const RedisScriptText> known = script.script;
    if (by_hash.contains(known->hash)) throw std::logic_error("two scripts have one hash");
    const Compiled& kept = by_text.emplace(known->text, std::move(script)).first->second;
    by_hash.emplace(known->hash, &kept);
    return kept;
  }

  void set_global_list(const char* name, std::span<const std::string_view> texts) {
    lua_pushstring(lua, name);
    lua_createtable(lua, static_cast<int>(texts.size()), 0);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      push_text(lua, texts[i]);
      lua_rawseti(lua, -2, static_cast<int>(i) + 1);
    }
    lua_rawset(lua, LUA_GLOBALSINDEX);
  }
};

RedisLua::RedisLua() : state_(std::make_unique<State>()) {}
RedisLua::~RedisLua() = default;

RedisLua& RedisLua::of_this_thread() {
  thread_local RedisLua lua;
  return lua;
}

std::shared_ptr<const RedisScriptText> RedisLua::load(std::string_view text) {
  return state_->compiled(text).script;
}

RedisReply RedisLua::run(const RedisScriptText& script, RedisExecution& caller,
                         std::span<const std::string_view> keys, std::span<const std::string_view> words) {
  lua_State* const lua = state_->lua;
  const auto found = state_->by_hash.find(script.hash);
  const int function =
      found != state_->by_hash.end() ? found->second->function : state_->compiled(script.text).function;
  state_->set_global_list("KEYS", keys);
  state_->set_global_list("ARGV", words);
  lua_pushcfunction(lua, explain_error);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, function);
  state_->caller = &caller;
  const int outcome = lua_pcall(lua, 0, 1, -2);
  state_->caller = nullptr;
  if (outcome != 0 && lua_istable(lua, -1)) {
    std::string text = field_of(lua, "err").value_or("ERR unknown error");
    text += " script: " + script.hash;
    if (const std::optional<std::string> place = field_of(lua, "place")) text += ", on " + *place + '.';
    lua_pop(lua, 2);
    return redis_error(std::move(text));
  }
  RedisReply reply = take_reply(lua);
  if (outcome != 0) reply = redis_error("ERR Error running script " + script.hash + ", " + reply.text);
  lua_pop(lua, 1);
  return reply;
}

}  // namespace carillon::sim
