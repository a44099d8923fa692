# The three helpers every CMakeLists.txt below uses. Sources are listed, never globbed: the tidy
# test finds files that no rule names.

add_library(ration_flags INTERFACE)
target_include_directories(ration_flags INTERFACE ${CMAKE_SOURCE_DIR}/src)
target_compile_options(ration_flags INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wno-unused-parameter
  -Wno-missing-designated-field-initializers  # options have defaults; a call names what it sets
  -ffp-contract=off            # a*b+c rounds the same in every translation unit
  -fno-omit-frame-pointer
  $<$<BOOL:${RATION_WERROR}>:-Werror>)
target_compile_definitions(ration_flags INTERFACE RATION_VERSION="${PROJECT_VERSION}")
target_link_options(ration_flags INTERFACE -fuse-ld=lld)
if(RATION_SANITIZE)
  target_compile_options(ration_flags INTERFACE -fsanitize=${RATION_SANITIZE}
                         -fno-sanitize-recover=all)
  target_link_options(ration_flags INTERFACE -fsanitize=${RATION_SANITIZE})
endif()
if(RATION_FUZZ)
  target_compile_options(ration_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

# What most files include of other projects, compiled once for all targets of a kind. Files still
# include what they use: the dev preset compiles without.
set(RATION_COMMON_HEADERS <algorithm> <array> <functional> <memory> <optional> <span> <string>
    <string_view> <variant> <vector> <fmt/format.h> <nlohmann/json.hpp>)
function(ration_precompile name)  # ration_precompile(NAME LINKS lib FLAGS -O1 HEADERS <x.h>)
  cmake_parse_arguments(ARG "" "" "LINKS;FLAGS;HEADERS" ${ARGN})
  file(WRITE ${CMAKE_BINARY_DIR}/${name}.cpp "")
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/${name}.cpp)
  target_link_libraries(${name} PRIVATE ration_flags fmt::fmt Threads::Threads ${ARG_LINKS})
  target_compile_options(${name} PRIVATE ${ARG_FLAGS})
  target_precompile_headers(${name} PRIVATE ${RATION_COMMON_HEADERS} ${ARG_HEADERS})
endfunction()

# ration_library(NAME SOURCES a.cpp b.cpp NEEDS base model LINKS PkgConfig::X)
function(ration_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;NEEDS;LINKS" ${ARGN})
  if(NOT TARGET ration_headers)
    ration_precompile(ration_headers)
  endif()
  add_library(ration_${name} STATIC ${ARG_SOURCES})
  target_precompile_headers(ration_${name} REUSE_FROM ration_headers)
  target_link_libraries(ration_${name} PUBLIC ration_flags fmt::fmt Threads::Threads)
  foreach(need ${ARG_NEEDS})
    target_link_libraries(ration_${name} PUBLIC ration_${need})
  endforeach()
  target_link_libraries(ration_${name} PUBLIC ${ARG_LINKS})
endfunction()

# ration_test(NAME SOURCES a_test.cpp NEEDS base LABEL fast): one program a library, one ctest entry
# a program unless it is long.
function(ration_test name)
  cmake_parse_arguments(ARG "" "LABEL;TIMEOUT" "SOURCES;NEEDS;LINKS;ARGS" ${ARGN})
  if(NOT ARG_LABEL)
    set(ARG_LABEL fast)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(NOT TARGET ration_test_headers)
    ration_precompile(ration_test_headers LINKS GTest::gtest FLAGS $<$<CONFIG:Release>:-O1>
                      HEADERS <gtest/gtest.h>)
  endif()
  add_executable(${name}_test ${ARG_SOURCES})
  target_precompile_headers(${name}_test REUSE_FROM ration_test_headers)
  target_compile_options(${name}_test PRIVATE $<$<CONFIG:Release>:-O1>)
  target_include_directories(${name}_test PRIVATE ${CMAKE_SOURCE_DIR})  # "test/model/gguf_writer.h"
  target_link_libraries(${name}_test PRIVATE ration_flags GTest::gtest_main ${ARG_LINKS})
  foreach(need ${ARG_NEEDS})
    target_link_libraries(${name}_test PRIVATE ration_${need})
  endforeach()
  target_compile_definitions(${name}_test PRIVATE
    RATION_SOURCE_DIR="${CMAKE_SOURCE_DIR}" RATION_BINARY_DIR="${CMAKE_BINARY_DIR}")
  add_test(NAME ${name} COMMAND ${name}_test ${ARG_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL} TIMEOUT ${ARG_TIMEOUT})
endfunction()

# ration_fuzz(NAME SOURCES x_fuzz.cpp NEEDS model RUNS 20000 MAX_LEN 65536): a libFuzzer target of
# the asan preset. Two ctest entries: fuzz_NAME replays the committed corpus test/fuzz/corpus/NAME
# and mutates RUNS times (label fuzz), a share that fits CI; fuzz_NAME_long mutates 100,000 times,
# or as -DRATION_FUZZ_RUNS says (label fuzz_long). Findings go to the build folder, never into the
# committed corpus.
set(RATION_FUZZ_RUNS 100000 CACHE STRING "inputs each long fuzz run tries")
function(ration_fuzz name)
  cmake_parse_arguments(ARG "" "RUNS;MAX_LEN" "SOURCES;NEEDS" ${ARGN})
  if(NOT RATION_FUZZ)
    return()
  endif()
  set(runs 20000)
  set(runs_long ${RATION_FUZZ_RUNS})
  set(max_len 65536)
  if(ARG_RUNS)
    set(runs ${ARG_RUNS})
  endif()
  if(ARG_MAX_LEN)
    set(max_len ${ARG_MAX_LEN})
  endif()
  add_executable(${name}_fuzz ${ARG_SOURCES})
  target_include_directories(${name}_fuzz PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name}_fuzz PRIVATE ration_flags)
  target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
  foreach(need ${ARG_NEEDS})
    target_link_libraries(${name}_fuzz PRIVATE ration_${need})
  endforeach()
  foreach(kind fuzz fuzz_long)
    string(REPLACE fuzz "" suffix ${kind})
    set(scratch ${CMAKE_BINARY_DIR}/fuzz/${name}${suffix})
    file(MAKE_DIRECTORY ${scratch})
    add_test(NAME fuzz_${name}${suffix} COMMAND ${name}_fuzz -runs=${runs${suffix}}
             -max_len=${max_len} -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -seed=1
             -artifact_prefix=${scratch}_ ${scratch} ${CMAKE_SOURCE_DIR}/test/fuzz/corpus/${name})
    set_tests_properties(fuzz_${name}${suffix} PROPERTIES LABELS ${kind} TIMEOUT 3600)
  endforeach()
endfunction()
