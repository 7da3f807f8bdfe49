# Sourced by the scripts that build: finds missing packages and installs them with apt on Debian and
# Ubuntu.

missing_tools=()  # required for any build
missing_libraries=()  # CMake downloads pinned versions of missing ones
wanted=()  # installed where it is possible; without them tests are skipped

# need COMMAND PACKAGE: requires a program on PATH.
need() { command -v "$1" > /dev/null || missing_tools+=("$2"); }

# need_header FILE PACKAGE: requires a library, identified by one of its headers.
need_header() {
  local folder
  for folder in /usr/include /usr/local/include; do
    if [[ -e "$folder/$1" ]]; then return; fi
  done
  missing_libraries+=("$2")
}

# want_header FILE PACKAGE: like need_header, for a library without which optional parts are not built.
want_header() {
  local before=("${missing_libraries[@]}")
  need_header "$@"
  if ((${#missing_libraries[@]} > ${#before[@]})); then
    missing_libraries=("${before[@]}")
    wanted+=("$2")
  fi
}

# want COMMAND PACKAGE: like need, for a program without which tests are skipped.
want() { command -v "$1" > /dev/null || wanted+=("$2"); }

need_compiler() {
  if [[ -z "${CXX:-}" ]]; then need c++ build-essential; else need "$CXX" "$CXX"; fi
  need cmake cmake
  need ninja ninja-build
  need git git
  need_header eigen3/Eigen/Core libeigen3-dev
  need_header nlohmann/json.hpp nlohmann-json3-dev
}

need_example_libraries() {
  need_header fmt/core.h libfmt-dev
  need_header CLI/CLI.hpp libcli11-dev
  need_header toml++/toml.h libtomlplusplus-dev
}

need_test_libraries() {
  need_header catch2 catch2
  need_header benchmark/benchmark.h libbenchmark-dev
  need_header boost/context/fiber.hpp libboost-context-dev
  want_header boost/beast.hpp libboost-dev
  want_header sqlite3.h libsqlite3-dev
  want mpicxx libopenmpi-dev
  want mpiexec openmpi-bin
  want mpicxx.mpich libmpich-dev
  want mpiexec.mpich mpich
  want ip iproute2
}

# Installs the packages that the need... calls above found missing; ends the script with a list when
# it cannot.
install_missing() {
  local packages=("${missing_tools[@]}" "${missing_libraries[@]}")
  local as_root=() has_apt=1
  if ((EUID != 0)); then as_root=(sudo); fi
  if ! command -v apt-get > /dev/null || { ((EUID != 0)) && ! command -v sudo > /dev/null; }; then has_apt=0; fi
  if ((has_apt == 1)); then
    packages+=("${wanted[@]}")
  elif ((${#wanted[@]} > 0)); then
    echo "Without these packages (Debian names) tests are skipped: ${wanted[*]}"
  fi
  missing_tools=() missing_libraries=() wanted=()
  if ((${#packages[@]} == 0)); then return; fi
  if ((has_apt == 0)); then
    echo "These packages (Debian names) are missing, and apt-get with root rights is not available here:" >&2
    printf '  %s\n' "${packages[@]}" >&2
    echo "Install them with your package manager and start again." >&2
    exit 1
  fi
  echo "Installing: ${packages[*]}"
  "${as_root[@]}" apt-get -qq update < /dev/null
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install -y --no-install-recommends "${packages[@]}" < /dev/null > /dev/null
}

# Ends the script when the CMake on PATH is too old.
check_cmake() {
  local version
  version=$(cmake --version | sed -n '1s/[^0-9]*//p')
  if [[ "$(printf '%s\n' 3.25 "$version" | sort -V | head -n 1)" != 3.25 ]]; then
    echo "CMake 3.25 or newer is needed, this is $version. Debian 12 and Ubuntu 24.04 have it; elsewhere: pip install cmake" >&2
    exit 1
  fi
}

# run_quietly LOG COMMAND...: writes the output to LOG and shows it only on failure.
run_quietly() {
  local log=$1
  shift
  mkdir -p "$(dirname "$log")"
  if "$@" > "$log" 2>&1; then return; fi
  cat "$log" >&2
  echo "Failed: $*" >&2
  return 1
}

# configure FOLDER ARGS...: runs CMake on the repository, with Ninja and ccache if they are
# installed.
configure() {
  local folder=$1
  shift
  local args=(-B "$folder")
  if [[ ! -e "$folder/CMakeCache.txt" ]] && command -v ninja > /dev/null; then args+=(-G Ninja); fi
  if command -v ccache > /dev/null; then args+=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  run_quietly "$folder/configure.log" cmake "${args[@]}" "$@"
}

# build FOLDER ARGS...: compiles with all cores; shows progress on a terminal and only failures in a
# log.
build() {
  local folder=$1
  shift
  if [[ -t 1 ]]; then
    cmake --build "$folder" -j "$(nproc)" "$@"
  else
    run_quietly "$folder/build.log" cmake --build "$folder" -j "$(nproc)" "$@"
  fi
}
