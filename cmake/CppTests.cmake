# tests/cpp/<folder>/*.cpp -> one executable carillon_test_<folder>. ctest runs each executable in a few shards rather
# than in a process per test: under a sanitizer the start of a process costs more than most tests.
# One test alone: build/dev/carillon_test_hub --gtest_filter='HubTest.*'
find_package(GTest CONFIG QUIET)
if(NOT GTest_FOUND)
  message(FATAL_ERROR "GoogleTest was not found. Install libgtest-dev (Debian, Ubuntu) or gtest-devel (Fedora).")
endif()

set(test_root "${CMAKE_CURRENT_SOURCE_DIR}/tests/cpp")
set(links_protocol carillon_protocol)
set(links_env carillon_hub)
set(links_deflate carillon_deflate)
set(links_hub carillon_hub)
set(links_store carillon_hub)
set(links_session carillon_loop carillon_token OpenSSL::Crypto) # tests sign tokens
set(links_token carillon_token OpenSSL::Crypto)
set(links_proxy carillon_proxy)
set(links_loop carillon_loop)
set(links_gateway carillon_gateway carillon_asio) # the only tests that may open sockets through Asio
set(links_server carillon_server)
set(links_bindings carillon_server)
set(sources_bindings cpp/bindings/bridge.cpp) # the part that knows no Python
set(links_load carillon_load)
set(links_lab carillon_lab)
set(headers_hub "${CMAKE_CURRENT_SOURCE_DIR}/cpp/hub/hub.hpp")
set(headers_session "${test_root}/session/session_world.hpp")
set(headers_server "${CMAKE_CURRENT_SOURCE_DIR}/cpp/server/server.hpp")

# Where a test takes more than a second, its executable has more shards than there are cores.
set(shards_hub 8)
set(shards_session 8)
set(shards_server 4)
# What has one thread has no races: ThreadSanitizer has nothing to find there.
set(threaded env hub store gateway server bindings)
# In these folders few tests have threads of their own: the names of those say so.
set(threaded_tests_hub "*Stress*:*Threads*")
set(threaded_tests_store "*Stress*:*Threads*")

if(CARILLON_SANITIZE)
  set(test_optimisation -O0)
else()
  set(test_optimisation -O1)
endif()

add_custom_target(carillon_tests)
file(GLOB folders CONFIGURE_DEPENDS LIST_DIRECTORIES true "${test_root}/*")
foreach(folder IN LISTS folders)
  file(GLOB sources CONFIGURE_DEPENDS "${folder}/*.cpp")
  cmake_path(GET folder FILENAME name)
  if(NOT IS_DIRECTORY "${folder}" OR NOT sources)
    continue()
  endif()
  if(CARILLON_SANITIZE STREQUAL "thread" AND NOT name IN_LIST threaded)
    continue()
  endif()
  if(NOT DEFINED shards_${name})
    set(shards_${name} 1)
  endif()
  if(NOT DEFINED links_${name})
    set(links_${name} carillon_server)
  endif()
  set(filter)
  if(CARILLON_SANITIZE STREQUAL "thread" AND DEFINED threaded_tests_${name})
    set(filter "--gtest_filter=${threaded_tests_${name}}")
    set(shards_${name} 2)
  endif()
  set(target carillon_test_${name})
  add_executable(${target} ${sources} ${sources_${name}})
  target_include_directories(${target} PRIVATE "${test_root}")
  target_link_libraries(${target} PRIVATE ${links_${name}} carillon_json carillon_warnings GTest::gtest_main)
  # Headers are most of a test's build time, so they are read once per executable. Under sanitizers its optimisation
  # is, and what is tested is optimised all the same.
  target_precompile_headers(${target} PRIVATE <gtest/gtest.h> ${headers_${name}})
  target_compile_options(${target} PRIVATE ${test_optimisation} "$<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>")
  math(EXPR last "${shards_${name}} - 1")
  foreach(shard RANGE ${last})
    set(test "${name}/${shard}")
    add_test(NAME ${test} COMMAND ${target} --gtest_brief=1 ${filter})
    set_tests_properties(${test} PROPERTIES TIMEOUT 900 COST ${shards_${name}}
      ENVIRONMENT "GTEST_TOTAL_SHARDS=${shards_${name}};GTEST_SHARD_INDEX=${shard}")
  endforeach()
  add_dependencies(carillon_tests ${target})
endforeach()
