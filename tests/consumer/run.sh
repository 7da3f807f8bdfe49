#!/usr/bin/env bash
# Uses Refrain as an outside project in every way that docs/linking.md names: tests/consumer/run.sh
# BUILD_FOLDER
# From the install tree of a finished build: find_package and pkg-config, static and shared, and
# examples/link. From the sources: add_subdirectory and FetchContent.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
source tests/install.sh
need pkg-config pkg-config
need readelf binutils
install_missing

built=$1
work=$PWD/build/consumer
mkdir -p "$work"
find "$work" -mindepth 1 -maxdepth 1 ! -name sources -exec rm -rf {} +

fail() {
  echo "$*" >&2
  exit 1
}

# says NAME COMMAND...: prints the last line of a program's output.
says() {
  local name=$1 out
  shift
  out=$("$@") || fail "$name: failed, after: $out"
  echo "$name: $(tail -n 1 <<< "$out")"
}

# ---- the install tree, moved after installation ----

run_quietly "$work/install.log" cmake --install "$built" --prefix "$work/first place"
prefix=$work/prefix
mv "$work/first place" "$prefix"
libraries=$(dirname "$(find "$prefix" -name librefrain.a)")
cuda=OFF
if readelf -d "$libraries/librefrain.so" | grep -qF '[libcudart.so.'; then cuda=ON; fi

if grep -rnF -e "$PWD" -e "$work" "$libraries/cmake" "$libraries/pkgconfig"; then fail "these installed files contain paths of this machine"; fi
readelf -d "$libraries/librefrain.so" | grep -E 'SONAME.*\[librefrain[.]so[.][0-9]+[.][0-9]+\]' || fail "librefrain.so: another SONAME was expected"
if readelf -d "$libraries/librefrain.so" | grep -E '\[lib(mpi|nccl|sqlite3)'; then fail "librefrain.so links a library of its optional components"; fi
if readelf -d "$libraries/librefrain.so" | grep -F -e "$PWD"; then fail "librefrain.so contains paths of this machine"; fi

# Another installed version, which comes first on the path and must be skipped.
mkdir -p "$work/other/lib/cmake"
cp -r "$libraries/cmake/refrain" "$work/other/lib/cmake/refrain"
sed -i -E 's/"[0-9]+[.][0-9]+[.][0-9]+"/"0.99.0"/' "$work/other/lib/cmake/refrain/refrain-config-version.cmake"

# The install tree must not require Eigen and nlohmann/json.
configure "$work/find_package" -S tests/consumer/find_package -DCMAKE_BUILD_TYPE=Release "-DCMAKE_PREFIX_PATH=$work/other;$prefix" \
  "-DEXPECT_FOLDER=$prefix" -DEXPECT_CUDA=$cuda -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON
build "$work/find_package"
for program in consumer consumer_static consumer_shared host models models_static models_shared; do says "find_package, $program" "$work/find_package/$program"; done
if [[ -e "$work/find_package/ranks_static" ]]; then
  for program in ranks_static ranks_shared; do says "find_package, $program" "$work/find_package/$program"; done
else
  echo "SKIPPED: the build has no MPI"
fi
if [[ -e "$work/find_package/gpus_static" ]]; then
  for program in gpus_static gpus_shared; do
    says "find_package, $program" env CUDA_VISIBLE_DEVICES= "$work/find_package/$program" | tee "$work/gpus.txt"
    grep -qE 'nccl_ranks: rank 0 \(.*\) has no Device::cuda: expected a build' "$work/gpus.txt" || fail "$program: expected an error without a GPU"
  done
else
  echo "SKIPPED: the build has no NCCL"
fi
if [[ -e "$work/find_package/server_static" ]]; then
  for program in server_static server_shared; do says "find_package, $program" "$work/find_package/$program"; done
else
  echo "SKIPPED: the build has no server"
fi
needs_library() { readelf -d "$1" | grep -qF '[librefrain.so.'; }
if needs_library "$work/find_package/consumer_static" || needs_library "$work/find_package/consumer"; then fail "static, but needs librefrain.so"; fi
needs_library "$work/find_package/consumer_shared" || fail "shared, but does not need librefrain.so"

# ---- pkg-config: one object of each program, linked in each way ----

export PKG_CONFIG_PATH=$libraries/pkgconfig
cudadir=
if [[ $cuda == ON ]]; then cudadir=:$(pkg-config --variable=cudadir refrain); fi
mkdir "$work/pkg_config"
# compile SOURCE FLAGS..., link SOURCE WAY FLAGS...: build SOURCE.o and SOURCE_WAY.
compile() { run_quietly "$work/pkg_config/compile.log" "${CXX:-c++}" -std=c++20 -O1 "${@:2}" -c "tests/consumer/$1.cpp" -o "$work/pkg_config/$1.o"; }
link() { run_quietly "$work/pkg_config/link.log" "${CXX:-c++}" "$work/pkg_config/$1.o" -o "$work/pkg_config/$1_$2" "${@:3}"; }
[[ "$(pkg-config --modversion refrain)" == "$(pkg-config --modversion refrain-static)" ]]
for program in main models; do
  # shellcheck disable=SC2046
  {
    compile $program $(pkg-config --cflags refrain)
    link $program shared $(pkg-config --libs refrain)
    link $program static $(pkg-config --libs refrain-static)
    if [[ $cuda == OFF ]]; then link $program wholly_static -static $(pkg-config --static --libs refrain); fi
  }
  says "pkg-config, $program, shared" env LD_LIBRARY_PATH="$libraries$cudadir" "$work/pkg_config/${program}_shared"
  says "pkg-config, $program, static" env LD_LIBRARY_PATH="${cudadir#:}" "$work/pkg_config/${program}_static"
  if [[ $cuda == OFF ]]; then says "pkg-config, $program, wholly static" "$work/pkg_config/${program}_wholly_static"; fi
  if needs_library "$work/pkg_config/${program}_static"; then fail "static, but needs librefrain.so"; fi
done

# ---- the example: a separate project with the shared library ----

configure "$work/episodes" -S examples/link "-DCMAKE_PREFIX_PATH=$prefix" -DBUILD_SHARED_LIBS=ON
build "$work/episodes"
needs_library "$work/episodes/episodes" || fail "BUILD_SHARED_LIBS=ON, but the example is linked with the static library"
recommended=$(cd "$work/episodes" && ./episodes)
for title in "Harbour 4" "Atlas 3"; do
  grep -qxF "  $title" <<< "$recommended" || fail "examples/link: expected $title among"$'\n'"$recommended"
done
tail -n 3 <<< "$recommended"

# ---- the sources: add_subdirectory, then FetchContent in the same folder, which reuses the build
# ----

sources() {
  configure "$work/sources" -S tests/consumer/sources -DCMAKE_BUILD_TYPE=Release -DREFRAIN_CUDA=OFF "$@"
  build "$work/sources"
  says "sources $1" "$work/sources/consumer"
  says "sources $1, models" "$work/sources/models"
}
sources -DBY=add_subdirectory
sources -DBY=FetchContent "-DFETCHCONTENT_SOURCE_DIR_REFRAIN=$PWD"
# A clone, configured but not built.
if git rev-parse HEAD > /dev/null 2>&1; then
  configure "$work/clone" -S tests/consumer/sources -DREFRAIN_CUDA=OFF -DBY=FetchContent "-DREFRAIN_REPOSITORY=file://$PWD" \
    "-DREFRAIN_TAG=$(git rev-parse HEAD)"
  [[ -e "$work/clone/_deps/refrain-src/include/refrain/version.hpp" ]]
fi

# Both build a portable library: run every instruction set level of this CPU, and check its object.
mapfile -t objects < <(find "$work/sources/refrain" -maxdepth 1 -name 'refrain_v[34]_Release.o' | sort)
if ((${#objects[@]} < 2)); then
  grep 'instruction set levels' "$work/sources/configure.log" || true
  if [[ $(uname -sm) == "Linux x86_64" ]]; then fail "the portable library lacks levels"; fi
fi
for object in "${objects[@]}"; do
  level=$(grep -oE 'v[34]' <<< "${object##*/}")
  bash tests/checks/levels.sh hidden "$level" "$object"
  if out=$(REFRAIN_ISA=$level "$work/sources/consumer" 2>&1); then
    grep -F "isa=$level," <<< "$out"
  else
    grep -oE "REFRAIN_ISA=$level: this CPU cannot run it" <<< "$out"
  fi
done
