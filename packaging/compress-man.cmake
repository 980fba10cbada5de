# Read by cpack between installing and packing: Debian wants man pages compressed. `cmake --install`
# leaves them as they are.
if(NOT CPACK_GENERATOR STREQUAL "DEB")
	return()
endif()
find_program(gzip gzip REQUIRED)
file(GLOB pages "${CPACK_TEMPORARY_DIRECTORY}/*/usr/share/man/man?/*")
if(NOT pages)
	message(FATAL_ERROR "no man pages in ${CPACK_TEMPORARY_DIRECTORY}")
endif()
execute_process(COMMAND ${gzip} -9n ${pages} COMMAND_ERROR_IS_FATAL ANY)
