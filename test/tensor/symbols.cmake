# Looks at the object files of the kernel sets: cmake -DNM=nm -DOBJECTS="a.o;b.o" -P symbols.cmake
#
# A function compiled for AVX2 that other files may define too (a weak symbol: an inline function
# or a template) could be the copy the linker keeps, and then crash a machine without AVX2. So there
# must be none.
foreach(object ${OBJECTS})
  execute_process(COMMAND ${NM} --demangle ${object} OUTPUT_VARIABLE symbols RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${NM} cannot read ${object}")
  endif()
  if(NOT symbols MATCHES " T ration::| D ration::| R ration::")
    message(FATAL_ERROR "found no kernels in ${object}")
  endif()
  string(REGEX MATCHALL "[^\n]* [VWuvw] [^\n]*" weak "${symbols}")
  if(weak)
    message(FATAL_ERROR "found weak symbols in ${object}, wanted none: ${weak}")
  endif()
endforeach()
