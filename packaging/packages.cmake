# Debian packages by CPack: rdbeam (module and daemon), rdbeam-tools (rdbeam(1)), librdbeam0 and
# librdbeam-dev. They hold what `cmake --install` puts down for the components `server`, `tools`,
# `library` and `dev`.

# --- files that no target makes ------------------------------------------------------------------
set(server_package rdbeam)
set(tools_package rdbeam-tools)
set(library_package librdbeam${RDBEAM_SOVERSION})
set(dev_package librdbeam-dev)
foreach(component server tools library dev)
	set(package ${${component}_package})
	set(doc_dir ${CMAKE_INSTALL_DATAROOTDIR}/doc/${package})
	install(FILES LICENSE DESTINATION ${doc_dir} RENAME copyright COMPONENT ${component})
	install(FILES CHANGELOG.md DESTINATION ${doc_dir} RENAME changelog COMPONENT ${component})
endforeach()
# In the places that they have in the source tree, so that the links between them work.
file(CREATE_LINK changelog ${PROJECT_BINARY_DIR}/CHANGELOG.md SYMBOLIC)
install(FILES README.md ${PROJECT_BINARY_DIR}/CHANGELOG.md
	DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/rdbeam COMPONENT server)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/rdbeam
	COMPONENT server PATTERN examples EXCLUDE)
install(DIRECTORY docs/examples/ DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/librdbeam-dev/examples
	COMPONENT dev)
install(FILES packaging/systemd/rdbeam-rdma.conf packaging/sysctl-rdbeam.conf
	packaging/limits-rdbeam.conf
	DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/rdbeam/examples COMPONENT server)
install(FILES packaging/systemd/rdbeam-follow.service
	DESTINATION ${CMAKE_INSTALL_DATAROOTDIR}/doc/rdbeam-tools/examples COMPONENT tools)
# systemd reads drop-ins of units that are not there without a word: one file serves both servers.
configure_file(packaging/systemd/rdbeam.conf.in systemd/rdbeam.conf @ONLY)
foreach(unit redis-server redis-server@ valkey-server valkey-server@)
	install(FILES ${PROJECT_BINARY_DIR}/systemd/rdbeam.conf
		DESTINATION lib/systemd/system/${unit}.service.d COMPONENT server)
endforeach()

# --- packages ------------------------------------------------------------------------------------
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME rdbeam)
set(CPACK_PACKAGE_VENDOR "the rdbeam authors")
set(CPACK_PACKAGE_CONTACT "the rdbeam authors <rdbeam@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # each package has its own
set(CPACK_PROJECT_CONFIG_FILE ${CMAKE_CURRENT_LIST_DIR}/check-prefix.cmake)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_CURRENT_LIST_DIR}/compress-man.cmake)
set(CPACK_RDBEAM_PREFIX ${CMAKE_INSTALL_PREFIX})
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ
	GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_COMPONENTS_ALL server tools library dev)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_SERVER_PACKAGE_NAME rdbeam)
set(CPACK_DEBIAN_SERVER_PACKAGE_RECOMMENDS "redis-server (>= 5:7.0) | valkey-server, rdbeam-tools")
set(CPACK_COMPONENT_SERVER_DESCRIPTION "snapshots of Redis and Valkey in shared memory
A module for a stock server, and its daemon. BGSAVE writes the data set into shared memory. From there
the same bytes go to disk by io_uring, and to any number of replicas. To load the module, add this line
to the server's configuration: loadmodule ${CMAKE_INSTALL_FULL_LIBDIR}/rdbeam/rdbeam.so.")
set(CPACK_DEBIAN_TOOLS_PACKAGE_NAME rdbeam-tools)
set(CPACK_DEBIAN_TOOLS_PACKAGE_SUGGESTS rdbeam)
set(CPACK_COMPONENT_TOOLS_DESCRIPTION "command for snapshots and replicas of Redis and Valkey
The command rdbeam follows snapshots, makes replicas from the image that the module of the package
rdbeam keeps in memory, verifies dump files, and checks whether a host has what these need.")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME ${library_package})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_COMPONENT_LIBRARY_DESCRIPTION "library that reads snapshots of Redis and Valkey
Walks the keys of images that rdbeam makes and of plain RDB files, verifies them, and pulls images
from a server that has the module of the package rdbeam loaded.")
set(CPACK_DEBIAN_DEV_PACKAGE_NAME ${dev_package})
set(CPACK_DEBIAN_DEV_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEV_PACKAGE_SHLIBDEPS OFF)
set(CPACK_DEBIAN_DEV_PACKAGE_DEPENDS "${library_package} (= ${PROJECT_VERSION})")
set(CPACK_COMPONENT_DEV_DESCRIPTION "headers and manual of librdbeam
What a program needs to be compiled with librdbeam: headers, the pkg-config file, manual, examples.")
include(CPack)
