# The static and the shared library, built from one set of position-independent objects, and their
# installation.

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
  # Link dependencies: users of the static library need them, those of the shared library do not.
  if(REFRAIN_CUDA_ENABLED)
    foreach(needed IN ITEMS CUDA::cudart CUDA::cublas CUDA::cublasLt ${CMAKE_DL_LIBS})
      if(kind STREQUAL "shared")
        set(needed "$<BUILD_INTERFACE:${needed}>")
      endif()
      target_link_libraries(${library} PRIVATE "${needed}")
    endforeach()
    # librefrain.so then finds the toolkit.
    set_target_properties(${library} PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
  endif()
  if(kind STREQUAL "shared" AND UNIX AND NOT APPLE)
    # Hidden visibility does not apply to templates of the standard library, whose namespace is
    # visible.
    set(script "${PROJECT_SOURCE_DIR}/cmake/exported_symbols.map")
    target_link_options(${library} PRIVATE "LINKER:--version-script=${script}")
    set_property(TARGET ${library} APPEND PROPERTY LINK_DEPENDS "${script}")
  endif()
endfunction()

# refrain_add_models(): defines refrain::models, the header-only models of examples/models. The
# package's configuration file defines the target again, because an exported target would name the
# static or the shared library instead of refrain::refrain.
function(refrain_add_models)
  add_library(refrain_models INTERFACE)
  add_library(refrain::models ALIAS refrain_models)
  target_include_directories(refrain_models INTERFACE "${PROJECT_SOURCE_DIR}/examples/models")
  target_link_libraries(refrain_models INTERFACE refrain::refrain)
endfunction()

# refrain_add_mpi(): defines refrain::mpi, the transport over MPI, a static library for programs that
# link refrain::refrain of either kind.
function(refrain_add_mpi)
  add_library(refrain_mpi STATIC src/mpi/mpi.cpp)
  add_library(refrain::mpi ALIAS refrain_mpi)
  set_target_properties(refrain_mpi PROPERTIES EXPORT_NAME mpi UNITY_BUILD OFF)
  target_compile_features(refrain_mpi PUBLIC cxx_std_20)
  # Without the C++ interface of MPI, which is deprecated.
  target_compile_definitions(refrain_mpi PRIVATE OMPI_SKIP_MPICXX=1 MPICH_SKIP_MPICXX=1)
  target_include_directories(refrain_mpi PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(refrain_mpi PRIVATE MPI::MPI_CXX
    PUBLIC "$<BUILD_INTERFACE:refrain::refrain>" "$<INSTALL_INTERFACE:refrain::refrain>")
  refrain_hide_symbols(refrain_mpi)
  refrain_warnings(refrain_mpi)
  refrain_optimize_without_build_type(refrain_mpi)
endfunction()

# refrain_add_nccl(): defines refrain::nccl, the transport over NCCL, a static library like refrain::mpi.
function(refrain_add_nccl)
  add_library(refrain_nccl STATIC src/nccl/functions.cpp src/nccl/ranks.cpp)
  add_library(refrain::nccl ALIAS refrain_nccl)
  set_target_properties(refrain_nccl PROPERTIES EXPORT_NAME nccl UNITY_BUILD OFF)
  target_compile_features(refrain_nccl PUBLIC cxx_std_20)
  target_include_directories(refrain_nccl PRIVATE "${PROJECT_SOURCE_DIR}")
  target_link_libraries(refrain_nccl PRIVATE NCCL::NCCL
    PUBLIC "$<BUILD_INTERFACE:refrain::refrain>" "$<INSTALL_INTERFACE:refrain::refrain>")
  refrain_hide_symbols(refrain_nccl)
  refrain_warnings(refrain_nccl)
  refrain_optimize_without_build_type(refrain_nccl)
endfunction()

# refrain_add_server(): defines refrain::server, the parts of a server, a static library like
# refrain::mpi.
function(refrain_add_server)
  file(GLOB server_sources CONFIGURE_DEPENDS src/server/*.cpp)
  add_library(refrain_server STATIC ${server_sources})
  add_library(refrain::server ALIAS refrain_server)
  set_target_properties(refrain_server PROPERTIES EXPORT_NAME server UNITY_BUILD OFF)
  target_compile_features(refrain_server PUBLIC cxx_std_20)
  target_include_directories(refrain_server PRIVATE "${PROJECT_SOURCE_DIR}")
  # Users of the installed library need SQLite, and no Boost.
  target_link_libraries(refrain_server PRIVATE "$<BUILD_INTERFACE:Boost::headers>" SQLite::SQLite3
    PUBLIC "$<BUILD_INTERFACE:refrain::refrain>" "$<INSTALL_INTERFACE:refrain::refrain>")
  refrain_hide_symbols(refrain_server)
  refrain_warnings(refrain_server)
  refrain_optimize_without_build_type(refrain_server)
endfunction()

# refrain_install(KINDS...): installs libraries, headers, and the files for CMake and pkg-config.
function(refrain_install)
  include(CMakePackageConfigHelpers)
  set(config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/refrain")
  set(REFRAIN_COMPONENTS cpu models ${ARGN})
  if(REFRAIN_CUDA_ENABLED)
    list(APPEND REFRAIN_COMPONENTS cuda)
  endif()
  if(REFRAIN_MPI_ENABLED)
    list(APPEND REFRAIN_COMPONENTS mpi)
    install(TARGETS refrain_mpi EXPORT refrain-mpi)
    install(EXPORT refrain-mpi NAMESPACE refrain:: FILE refrain-mpi.cmake DESTINATION "${config_dir}")
  endif()
  if(REFRAIN_NCCL_ENABLED)
    list(APPEND REFRAIN_COMPONENTS nccl)
    install(TARGETS refrain_nccl EXPORT refrain-nccl)
    install(EXPORT refrain-nccl NAMESPACE refrain:: FILE refrain-nccl.cmake DESTINATION "${config_dir}")
    install(FILES "${PROJECT_SOURCE_DIR}/cmake/FindNCCL.cmake" DESTINATION "${config_dir}")
  endif()
  if(REFRAIN_SERVE_ENABLED)
    list(APPEND REFRAIN_COMPONENTS server)
    install(TARGETS refrain_server EXPORT refrain-server)
    install(EXPORT refrain-server NAMESPACE refrain:: FILE refrain-server.cmake DESTINATION "${config_dir}")
  endif()
  foreach(kind IN LISTS ARGN)
    # A separate export set for each library, so that a user of the shared library needs no
    # dependency of the static one.
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

# refrain_write_pkg_config(KIND KINDS...): writes refrain.pc for the shared library, or for the
# static one if it is the only one; otherwise refrain-static.pc for the static library.
function(refrain_write_pkg_config kind)
  set(name refrain)
  set(libraries "-L\${libdir} -lrefrain")
  set(private_libraries "-pthread")
  set(variables)
  if(REFRAIN_CUDA_ENABLED)
    set(variables "\n# Folder of the CUDA libraries; override it with pkg-config --define-variable=cudadir=FOLDER\ncudadir=${CUDAToolkit_LIBRARY_DIR}")
    string(APPEND private_libraries " -L\${cudadir} -lcudart -lcublas -lcublasLt -ldl")
  endif()
  if(kind STREQUAL "static")
    # An archive has no list of its dependencies, so this file names them.
    set(libraries "\${libdir}/${CMAKE_STATIC_LIBRARY_PREFIX}refrain${CMAKE_STATIC_LIBRARY_SUFFIX} ${private_libraries}")
    set(private_libraries "")
    if("shared" IN_LIST ARGN)
      set(name refrain-static)
    endif()
  endif()
  # Relative to the file's folder, so that the install tree can be moved.
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
