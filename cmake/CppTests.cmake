# tests/cpp/<folder>/*.cpp -> one executable carillon_test_<folder> (few links), each TEST one test of ctest.
find_package(GTest CONFIG QUIET)
if(NOT GTest_FOUND)
  message(FATAL_ERROR "GoogleTest was not found. Install libgtest-dev (Debian, Ubuntu) or gtest-devel (Fedora).")
endif()
include(GoogleTest)

set(test_root "${CMAKE_CURRENT_SOURCE_DIR}/tests/cpp")
set(links_protocol carillon_protocol)
set(links_env carillon_hub)
set(links_hub carillon_hub)
set(links_store carillon_hub)
set(links_session carillon_loop)
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

add_custom_target(carillon_tests)
file(GLOB folders CONFIGURE_DEPENDS LIST_DIRECTORIES true "${test_root}/*")
foreach(folder IN LISTS folders)
  file(GLOB sources CONFIGURE_DEPENDS "${folder}/*.cpp")
  cmake_path(GET folder FILENAME name)
  if(NOT IS_DIRECTORY "${folder}" OR NOT sources)
    continue()
  endif()
  if(NOT DEFINED links_${name})
    set(links_${name} carillon_server)
  endif()
  set(target carillon_test_${name})
  add_executable(${target} ${sources} ${sources_${name}})
  target_include_directories(${target} PRIVATE "${test_root}")
  target_link_libraries(${target} PRIVATE ${links_${name}} carillon_json carillon_warnings GTest::gtest_main)
  # Headers are most of a test's build time, so they are read once per executable. Under sanitizers its optimisation
  # is, and what is tested is optimised all the same.
  target_precompile_headers(${target} PRIVATE <gtest/gtest.h> ${headers_${name}})
  target_compile_options(${target} PRIVATE "$<IF:$<BOOL:${CARILLON_SANITIZE}>,-O0,-O1>"
    "$<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>")
  # PRE_TEST: tests are listed when ctest starts, not in the middle of the build.
  gtest_discover_tests(${target} TEST_PREFIX "${name}/" DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60
    PROPERTIES TIMEOUT 600)
  add_dependencies(carillon_tests ${target})
endforeach()
