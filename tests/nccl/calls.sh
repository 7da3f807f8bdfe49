#!/usr/bin/env bash
# Checks which functions of NCCL the library refrain::nccl calls: tests/nccl/calls.sh LIBRARY
# They move bytes; none adds, because the order of NCCL's additions depends on the number of ranks.
set -euo pipefail

expected=(ncclCommAbort ncclCommDestroy ncclCommFinalize ncclCommGetAsyncError ncclCommInitRankConfig ncclGetErrorString
  ncclGetLastError ncclGetUniqueId ncclGroupEnd ncclGroupStart ncclRecv ncclSend)
diff <(printf '%s\n' "${expected[@]}") <(nm -u "$1" | grep -oE '\bp?nccl[A-Z][A-Za-z]*' | LC_ALL=C sort -u)
