# Sourced by the tests of the programs under MPI, which set launcher.

source "$(dirname "${BASH_SOURCE[0]}")/../examples/support.sh"

# mpi PROCESSES: sets start, the command that starts the processes.
mpi() {
  start=("$launcher" -n "$1")
  if "$launcher" --version 2>&1 | grep -qE 'Open ?(MPI|RTE)'; then start+=(--oversubscribe --allow-run-as-root); fi
}
