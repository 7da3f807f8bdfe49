# The libraries, static and shared, made of one set of position-independent objects, and what is installed of them.

# refrain_add_library(KIND): defines refrain_static or refrain_shared.
function(refrain_add_library kind)
  set(library refrain_${kind})
  string(TOUPPER ${kind} type)
  add_library(${library} ${type} $<TARGET_OBJECTS:refrain_objects> ${REFRAIN_LEVEL_OBJECTS})
  add_library(refrain::${library} ALIAS ${library})
  target_compile_features(${library} PUBLIC cxx_std_20)
  target_include_directories(${library} PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
  target_link_libraries(${library} PUBLIC Threads::Threads)
  set_target_properties(${library} PROPERTIES
    OUTPUT_NAME refrain
    LINKER_LANGUAGE CXX
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
  foreach(level IN LISTS REFRAIN_LEVELS)
    add_dependencies(${library} refrain_level_${level})
  endforeach()
  # What it is linked with: users of the static library need that, those of the shared one do not.
  if(REFRAIN_CUDA_ENABLED)
    foreach(needed IN ITEMS CUDA::cudart CUDA::cublas CUDA::cublasLt ${CMAKE_DL_LIBS})
      if(kind STREQUAL "shared")
        set(needed "$<BUILD_INTERFACE:${needed}>")
      endif()
      target_link_libraries(${library} PRIVATE "${needed}")
    endforeach()
    set_target_properties(${library} PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)  # librefrain.so finds the toolkit
  endif()
  if(kind STREQUAL "shared" AND UNIX AND NOT APPLE)
    # Hidden visibility leaves the standard library's templates, which are visible by their namespace.
    set(script "${PROJECT_SOURCE_DIR}/cmake/exported_symbols.map")
    target_link_options(${library} PRIVATE "LINKER:--version-script=${script}")
    set_property(TARGET ${library} APPEND PROPERTY LINK_DEPENDS "${script}")
  endif()
endfunction()

# refrain_add_models(): defines refrain::models, the header-only models of examples/models.  The package's configuration file defines the
# target again, since an exported one would name the static or the shared library instead of refrain::refrain.
function(refrain_add_models)
  add_library(refrain_models INTERFACE)
  add_library(refrain::models ALIAS refrain_models)
  target_include_directories(refrain_models INTERFACE "${PROJECT_SOURCE_DIR}/examples/models")
  target_link_libraries(refrain_models INTERFACE refrain::refrain)
endfunction()

# refrain_install(KINDS...): libraries, headers, and the files by which CMake and pkg-config find them.
function(refrain_install)
  include(CMakePackageConfigHelpers)
  set(config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/refrain")
  set(REFRAIN_COMPONENTS cpu models ${ARGN})
  if(REFRAIN_CUDA_ENABLED)
    list(APPEND REFRAIN_COMPONENTS cuda)
  endif()
  foreach(kind IN LISTS ARGN)
    # One set for each, so that a user of the shared library needs nothing that the static one is linked with.
    install(TARGETS refrain_${kind} EXPORT refrain-${kind})
    install(EXPORT refrain-${kind} NAMESPACE refrain:: FILE refrain-${kind}.cmake DESTINATION "${config_dir}")
    refrain_write_pkg_config(${kind} ${ARGN})
  endforeach()
  install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/refrain" "${PROJECT_SOURCE_DIR}/examples/models/refrain_models"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")

  configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/refrain-config.cmake.in" "${PROJECT_BINARY_DIR}/refrain-config.cmake"
    INSTALL_DESTINATION "${config_dir}" NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
  write_basic_package_version_file("${PROJECT_BINARY_DIR}/refrain-config-version.cmake" COMPATIBILITY SameMinorVersion)
  install(FILES "${PROJECT_BINARY_DIR}/refrain-config.cmake" "${PROJECT_BINARY_DIR}/refrain-config-version.cmake"
    DESTINATION "${config_dir}")
  install(FILES "${PROJECT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")
endfunction()

# refrain_write_pkg_config(KIND KINDS...): refrain.pc for the shared library, or for the static one where there is no other;
# beside the shared one the static one is refrain-static.pc.
function(refrain_write_pkg_config kind)
  set(name refrain)
  set(libraries "-L\${libdir} -lrefrain")
  set(private_libraries "-pthread")
  set(variables)
  if(REFRAIN_CUDA_ENABLED)
    set(variables "\n# Where the CUDA libraries are; another place: pkg-config --define-variable=cudadir=FOLDER\ncudadir=${CUDAToolkit_LIBRARY_DIR}")
    string(APPEND private_libraries " -L\${cudadir} -lcudart -lcublas -lcublasLt -ldl")
  endif()
  if(kind STREQUAL "static")
    # Nothing but this says what an archive needs.
    set(libraries "\${libdir}/${CMAKE_STATIC_LIBRARY_PREFIX}refrain${CMAKE_STATIC_LIBRARY_SUFFIX} ${private_libraries}")
    set(private_libraries "")
    if("shared" IN_LIST ARGN)
      set(name refrain-static)
    endif()
  endif()
  # From the file's own folder, so that the tree can be moved.
  if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
    set(prefix "${CMAKE_INSTALL_PREFIX}")
    set(libdir "${CMAKE_INSTALL_FULL_LIBDIR}")
    set(includedir "${CMAKE_INSTALL_FULL_INCLUDEDIR}")
  else()
    file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
    string(REGEX REPLACE "/$" "" up "${up}")
    set(prefix "\${pcfiledir}/${up}")
    set(libdir "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
    set(includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
  endif()
  configure_file("${PROJECT_SOURCE_DIR}/cmake/refrain.pc.in" "${PROJECT_BINARY_DIR}/${name}.pc" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/${name}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endfunction()
