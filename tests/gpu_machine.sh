# Sourced by the scripts for machines with a GPU.

# gpu_property NAME: a property of the first GPU by its name in nvidia-smi: name, driver_version,
# compute_cap.
gpu_property() { nvidia-smi --query-gpu="$1" --format=csv,noheader 2> /dev/null | head -n 1; }

# Ends the script with ctest's code for "skipped" on a machine without a GPU.
need_gpu() {
  if command -v nvidia-smi > /dev/null && [[ -n "$(gpu_property name)" ]]; then return; fi
  echo "SKIPPED: no NVIDIA GPU (or no driver) on this machine"
  exit 77
}

# configure_for_gpu FOLDER PREFIXES ARGS...: configures a release build with CUDA for the GPU of
# this machine.
configure_for_gpu() {
  local folder=$1 prefixes=$2 architectures
  shift 2
  if ! command -v nvcc > /dev/null && [[ -z "${CUDACXX:-}" ]]; then
    local nvcc=/usr/local/cuda/bin/nvcc
    if [[ ! -x $nvcc ]]; then
      echo "nvcc is neither on PATH nor $nvcc; set CUDACXX" >&2
      exit 1
    fi
    export CUDACXX=$nvcc
  fi
  case $(gpu_property compute_cap) in
    8.*) architectures=80-real ;;
    9.0) architectures=90a-real ;;
    *) architectures=native ;;
  esac
  local args=(-S . -B "$folder" -DCMAKE_BUILD_TYPE=Release -DREFRAIN_CUDA=ON "-DCMAKE_CUDA_ARCHITECTURES=$architectures")
  if [[ ! -e "$folder/CMakeCache.txt" ]] && command -v ninja > /dev/null; then args+=(-G Ninja); fi
  # Packages under a prefix are used, and then nothing is downloaded.
  if [[ -n "$prefixes" ]]; then args+=("-DCMAKE_PREFIX_PATH=${prefixes//:/;}" -DFETCHCONTENT_FULLY_DISCONNECTED=ON); fi
  mkdir -p "$folder"
  if ! cmake "${args[@]}" "$@" > "$folder/configure.log" 2>&1; then
    tail -n 40 "$folder/configure.log" >&2
    exit 1
  fi
}

# json_text TEXT: the text as a JSON string.
json_text() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

# The fields of every report. REFRAIN_COMMIT is the commit when the sources are no repository.
machine_record() {
  local commit changed=false
  commit=${REFRAIN_COMMIT:-$(git rev-parse HEAD 2> /dev/null || echo unknown)}
  if [[ -n "$(git status --porcelain --untracked-files=no 2> /dev/null)" ]]; then changed=true; fi
  printf '"date": %s,\n  "device": %s,\n  "compute_capability": %s,\n  "driver": %s,\n  "nvcc": %s,\n  "commit": %s,\n  "changed": %s' \
    "$(json_text "$(date -u +%Y-%m-%dT%H:%M:%SZ)")" "$(json_text "$(gpu_property name)")" \
    "$(json_text "$(gpu_property compute_cap)")" "$(json_text "$(gpu_property driver_version)")" \
    "$(json_text "$("${CUDACXX:-nvcc}" --version | sed -n 's/.*release \([0-9.]*\).*/\1/p')")" "$(json_text "$commit")" "$changed"
}
