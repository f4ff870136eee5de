# tests/fuzz/<name>_fuzz.cpp -> carillon_fuzz_<name>, a libFuzzer executable with ASan and UBSan.
if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  message(FATAL_ERROR "Fuzz targets need clang with libFuzzer. Install clang-16 and libclang-rt-16-dev (Debian), "
                      "and pass -DCMAKE_CXX_COMPILER=clang++-16.")
endif()
set(fuzz_options -O1 -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
target_compile_options(carillon_protocol PRIVATE ${fuzz_options} -fsanitize=fuzzer-no-link,address,undefined)

file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/tests/fuzz/*_fuzz.cpp")
foreach(source IN LISTS sources)
  cmake_path(GET source STEM name)
  string(REGEX REPLACE "_fuzz$" "" name "${name}")
  set(target carillon_fuzz_${name})
  add_executable(${target} "${source}")
  # Of Boost, what they call is compiled in their own unit: all of Asio takes half a minute to instrument.
  target_compile_options(${target} PRIVATE ${fuzz_options} -fsanitize=fuzzer,address,undefined
    -UBOOST_ASIO_SEPARATE_COMPILATION -UBOOST_BEAST_SEPARATE_COMPILATION)
  target_link_options(${target} PRIVATE -fsanitize=fuzzer,address,undefined)
  target_link_libraries(${target} PRIVATE carillon_protocol carillon_json carillon_boost
    carillon_warnings)
endforeach()

target_sources(carillon_fuzz_inflate PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/cpp/deflate/deflate.cpp")
target_include_directories(carillon_fuzz_inflate SYSTEM PRIVATE "${CARILLON_BOOST_INCLUDE}")
