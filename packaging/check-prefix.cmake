# Read by cpack before it installs. With /usr as prefix, module and daemon get the directory of the
# architecture; with another one they would lie where CPack believes it has to call ldconfig.
if(NOT CPACK_RDBEAM_PREFIX STREQUAL "/usr")
	message(FATAL_ERROR "packages are made for /usr, this build is for ${CPACK_RDBEAM_PREFIX}: "
		"configure one with -DCMAKE_INSTALL_PREFIX=/usr")
endif()
