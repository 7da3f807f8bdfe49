#!/usr/bin/env bash
# Trains GRU4Rec and NextItNet with Refrain and with RecBole on the same sequences:
#   bench/against_recbole.sh [--environment DIR] --data FILE --program CMNREC [--json FILE] ...
#   bench/against_recbole.sh [--environment DIR] --install
#   bench/against_recbole.sh --table FILE
# DIR (default build/recbole) is a Python environment that this script creates with the packages
# below. $PYTHON (default python3, 3.11 or 3.12) creates it. All other options: --help.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# RecBole 1.2.1 uses aliases that NumPy 2 and in-place calls that pandas 3 removed. It is installed
# without its dependencies, since it requires a version of ray that exists only for old Pythons; only
# its search of hyperparameters imports ray. Its own torch.load() calls fail with PyTorch 2.6 and
# later; against_recbole.py loads checkpoints itself.
requirements="colorama==0.4.4
colorlog==4.7.2
numpy==1.26.4
pandas==2.2.3
psutil==7.0.0
pyyaml==6.0.2
safetensors==0.5.3
scikit-learn==1.5.2
scipy==1.13.1
tensorboard==2.18.0
texttable==1.7.0
thop==0.1.1.post2209072238
torch==2.15.0
tqdm==4.67.1"
recbole="recbole==1.2.1"

environment="$here/../build/recbole"
if [[ "${1:-}" == --environment ]]; then
  environment="${2:?--environment: expected a folder}"
  shift 2
fi
case "${1:-}" in
  --table | --help | -h) exec "${PYTHON:-python3}" "$here/against_recbole.py" "$@" ;;
esac

installed="$environment/against_recbole_requirements.txt"
if [[ ! -f "$installed" ]] || [[ "$(< "$installed")" != "$requirements"$'\n'"$recbole" ]]; then
  echo "against_recbole: installing $recbole and its packages in $environment" >&2
  "${PYTHON:-python3}" -m venv "$environment"
  wanted="$(mktemp)"
  trap 'rm -f "$wanted"' EXIT
  printf '%s\n' "$requirements" > "$wanted"
  "$environment/bin/python" -m pip install -q --disable-pip-version-check -r "$wanted" >&2
  "$environment/bin/python" -m pip install -q --disable-pip-version-check --no-deps "$recbole" >&2
  printf '%s\n%s\n' "$requirements" "$recbole" > "$installed"
fi
if [[ "${1:-}" == --install ]]; then exit 0; fi
exec "$environment/bin/python" -W ignore "$here/against_recbole.py" "$@"
