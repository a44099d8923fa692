# What an installation holds, and the Debian package of it: packaging/make_deb.sh.
include(GNUInstallDirs)
install(TARGETS ration RUNTIME DESTINATION bin)
install(FILES packaging/ration.service packaging/ration.socket DESTINATION lib/systemd/system)
install(FILES packaging/config.toml DESTINATION /etc/ration)
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(shell bash fish)
  set(script ${CMAKE_BINARY_DIR}/completion.${shell})
  add_custom_command(OUTPUT ${script} COMMAND ration completion ${shell} > ${script} DEPENDS ration)
  list(APPEND completions ${script})
endforeach()
add_custom_target(completions ALL DEPENDS ${completions})
install(FILES ${CMAKE_BINARY_DIR}/completion.bash
        DESTINATION share/bash-completion/completions RENAME ration)
install(FILES ${CMAKE_BINARY_DIR}/completion.fish
        DESTINATION share/fish/vendor_completions.d RENAME ration.fish)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_CONTACT "the Ration authors <ration@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "runs language models inside a stated budget")
set(CPACK_PACKAGE_DESCRIPTION
    "Ration answers the usual chat APIs from local models on a CPU, inside a budget of memory, "
    "time, energy and money, and puts the bill on every answer.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# What the program opens when it is wanted (base/library.h), and so is not found by looking at it.
set(CPACK_DEBIAN_PACKAGE_DEPENDS "libcurl4 | libcurl3-gnutls, libssl3, libedit2")
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "ca-certificates, python3")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_SOURCE_DIR}/packaging/conffiles)
set(CPACK_STRIP_FILES ON)
include(CPack)
