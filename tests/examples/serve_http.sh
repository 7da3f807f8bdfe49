#!/usr/bin/env bash
# The serve example over HTTP: tests/examples/serve_http.sh SERVE PETERREC CMNREC
# Trains small models and runs serve_http.py, which states what must hold, with each of them.
# REFRAIN_KILLS is the number of kill -9 (20).
set -euo pipefail

serve=$(realpath "$1")
peterrec=$(realpath "$2")
cmnrec=$(realpath "$3")
client=$(realpath "$(dirname "${BASH_SOURCE[0]}")/serve_http.py")
source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

awk 'BEGIN {
  for (u = 1; u <= 60; ++u) {
    printf "%d", u
    for (t = 0; t < 8; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 3)) % 40
    print ""
  }
}' > users.txt
run 0 "$peterrec" pretrain --data users.txt --channels 8 --dilations "1,2" --epochs 1 --hold-out-last --threads 1
run 0 "$cmnrec" train --data users.txt --kind cmnrec --schedule every:3 --length 8 --epochs 1 \
  --threads 1 --out every.safetensors

# Events of 12 users, known and unknown items, and requests of all kinds.
awk 'BEGIN {
  for (t = 0; t < 600; ++t) {
    u = (t * 7) % 12
    if (t % 4 == 3) printf "{\"user\": \"u%d\", \"task\": \"next\", \"k\": 7}\n", u
    else printf "{\"user\": \"u%d\", \"item\": \"%d\"}\n", u, 1 + (t * t + u) % 42
    if (t % 50 == 0) {
      print "{\"history\": [\"3\", \"9\", \"zz\"], \"task\": \"next\"}"
      print "{\"user\": \"nobody\", \"task\": \"next\", \"k\": 3}"
      printf "{\"user\": \"u%d\", \"task\": \"next\", \"exclude\": [1, 2], \"allow\": [1, 3, 5, 7], \"seen\": \"include\"}\n", u
    }
  }
}' > lines
REFRAIN_KILLS=${REFRAIN_KILLS:-20} run 0 python3 "$client" "$serve" base.safetensors lines
cat out
run 0 python3 "$client" "$serve" every.safetensors lines 2
cat out
