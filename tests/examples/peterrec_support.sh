# Sourced by the tests of the peterrec program, which set program: commands, small data, bases.

source "$(dirname "${BASH_SOURCE[0]}")/support.sh"

# run STATUS ARGUMENTS...: runs the program, writes its output to the file out, and expects this
# exit code.
run() {
  local expected=$1 status=0
  shift
  "$program" "$@" --threads "${threads:-2}" > out 2>&1 || status=$?
  expect_status "$expected" "$status" "$@"
}

# interrupt WORD ARGUMENTS...: sends SIGTERM when the log contains WORD, and expects exit code 130.
# most_epochs: limits the training that is interrupted.
interrupt() {
  local word=$1
  shift
  interrupted "$word" "$program" "$@" --threads 2 --epochs "${most_epochs:-1000000}" --patience 1000000 --log log
}

# 60 users with 6 items each, and one with 20 different items, of 30 items in total.
awk 'BEGIN {
  for (u = 1; u <= 60; ++u) {
    printf "%d", u
    for (t = 0; t < 6; ++t) printf " %d", 1 + (u * 7 + t * (1 + u % 3)) % 30
    print ""
  }
  printf "61"
  for (i = 1; i <= 20; ++i) printf " %d", i
  print ""
}' > users.txt
awk 'BEGIN { for (u = 1; u <= 40; ++u) print 100 + u, 1 + u % 30, 1 + (u + 1) % 30, 1 + (u + 2) % 30 }' > more.txt
awk 'BEGIN { for (u = 1; u <= 61; ++u) printf "%d::%s::%d::1::0\n", u, u % 2 ? "F" : "M", u % 3 ? 25 : 35 }' > users.dat

tiny=(--channels 8 --dilations "1,2")

# Two bases: of the second one, the last items of each user are held out.
make_bases() {
  run 0 pretrain --data users.txt,more.txt "${tiny[@]}" --epochs 1 --out all.safetensors
  run 0 pretrain --data users.txt,more.txt "${tiny[@]}" --epochs 1 --hold-out-last --out held.safetensors
}
gender=(--base all.safetensors --data users.txt --profiles users.dat)

# refuses STATE SETTING COMMAND...: expects that the state file is rejected, because SETTING
# differs.
refuses() {
  local state=$1 setting=$2
  shift 2
  run 1 "$@" --resume "$state" --epochs 300 --out part.safetensors
  says "$state: keeps the state of another run: $setting"
}
