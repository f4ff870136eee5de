# The programs that contain the faults of cpp/env/planted_fault.hpp. Only the files in which a fault is planted are
# compiled again; everything else is linked as it is. A faulty object defines what the library's own would, so that the
# linker never takes the latter.
set(faulty_hub cpp/hub/hub_announced.cpp cpp/hub/hub_subscribe.cpp cpp/hub/shard.cpp cpp/store/redis/redis_log.cpp)
set(faulty_session ${faulty_hub} cpp/loop/event_loop.cpp cpp/session/outgoing.cpp)
set(faulty_core ${faulty_session} cpp/gateway/send_flush.cpp cpp/gateway/uring_flush.cpp)

# These are objects of their own everywhere, or the linker would find the files beside them twice.
set_source_files_properties(${faulty_core} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
add_library(carillon_faulty OBJECT ${faulty_core})
set_target_properties(carillon_faulty PROPERTIES UNITY_BUILD OFF)
target_include_directories(carillon_faulty PRIVATE "${CMAKE_CURRENT_SOURCE_DIR}/cpp")
target_compile_definitions(carillon_faulty PRIVATE CARILLON_PLANTED_FAULTS)
target_link_libraries(carillon_faulty PRIVATE carillon_warnings)

# faulty_objects(VARIABLE source...): the object files of these sources, with the faults.
function(faulty_objects variable)
  set(patterns)
  foreach(source IN LISTS ARGN)
    string(REPLACE "." "\\." pattern "${source}")
    list(APPEND patterns "${pattern}")
  endforeach()
  list(JOIN patterns "|" pattern)
  set(${variable} "$<FILTER:$<TARGET_OBJECTS:carillon_faulty>,INCLUDE,(${pattern})>" PARENT_SCOPE)
endfunction()

set(faulty_sim ${faulty_session})
set(with_faults hub session)
if(CARILLON_LUA)
  list(APPEND with_faults sim)
endif()
foreach(name IN LISTS with_faults)
  faulty_objects(objects ${faulty_${name}})
  add_executable(carillon_test_${name}_with_faults ${objects} $<TARGET_OBJECTS:carillon_test_${name}>)
  target_link_libraries(carillon_test_${name}_with_faults PRIVATE ${links_${name}} carillon_json GTest::gtest_main)
endforeach()

pybind11_add_module(_core_with_faults MODULE $<TARGET_OBJECTS:_core> $<TARGET_OBJECTS:carillon_faulty>)
target_link_libraries(_core_with_faults PRIVATE carillon_server carillon_lab carillon_load carillon_json)
set_target_properties(_core_with_faults PROPERTIES OUTPUT_NAME _core
  LIBRARY_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/with_faults/carillon")

add_custom_target(carillon_with_faults DEPENDS _core_with_faults)
foreach(name IN LISTS with_faults)
  add_dependencies(carillon_with_faults carillon_test_${name}_with_faults)
endforeach()
