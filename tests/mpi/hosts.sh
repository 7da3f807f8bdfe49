#!/usr/bin/env bash
# Training on three hosts, which are network namespaces with host names of their own, joined by a
# bridge: tests/mpi/hosts.sh LAUNCHER PETERREC MPI_TESTS
# The hosts must write the file of one process, and when the link of a host is cut, all must end.
# The bytes that the links carry are compared with those that the communicators count. MPI_TESTS:
# refrain_mpi_tests.
# Needs root rights, iproute2 and Open MPI.
set -euo pipefail

launcher=$1
peterrec=$(realpath "$2")
mpi_tests=$(realpath "$3")

skip() {
  echo "SKIPPED: training on several hosts: $1"
  exit 0
}
command -v "$launcher" > /dev/null || skip "the programs have no MPI, or there is no launcher"
"$launcher" --version 2>&1 | grep -qE 'Open ?(MPI|RTE)' || skip "no Open MPI"
command -v ip > /dev/null || skip "no iproute2"
if ((EUID != 0)); then skip "no root rights"; fi

source "$(dirname "${BASH_SOURCE[0]}")/../examples/support.sh"
export LC_ALL=C
tag=rf$$
hosts=(a b c)
remove() {
  local host
  for host in "${hosts[@]}"; do
    ip netns pids "$tag$host" 2> /dev/null | xargs -r kill -KILL 2> /dev/null || true
    ip link del "$tag$host" 2> /dev/null || true
    ip netns del "$tag$host" 2> /dev/null || true
  done
  ip link del "$tag" 2> /dev/null || true
  rm -rf "$folder"
}
trap remove EXIT
ip netns add "${tag}a" 2> /dev/null || skip "no permission to add a network namespace"
ip link add "$tag" type bridge 2> /dev/null || skip "no bridges"
ip link set "$tag" up
number=0
for host in "${hosts[@]}"; do
  number=$((number + 1))
  [[ "$host" == a ]] || ip netns add "$tag$host"
  ip link add "$tag$host" type veth peer name eth0 netns "$tag$host"
  ip link set "$tag$host" master "$tag" up
  ip netns exec "$tag$host" ip link set lo up
  ip netns exec "$tag$host" ip link set eth0 up
  ip netns exec "$tag$host" ip address add "10.231.77.$number/24" dev eth0
  echo "10.231.77.$number host-$host" >> names
done

# A port that nobody serves refuses at once, unless a firewall drops what the bridge forwards.
status=0
ip netns exec "${tag}b" timeout 5 bash -c ': < /dev/tcp/10.231.77.1/9' 2> /dev/null || status=$?
((status != 124)) || skip "a firewall between the network namespaces"

# on HOST COMMAND...: runs a command on a host, as ssh does; mpirun starts its daemons so.
cat > on << END
#!/usr/bin/env bash
host=\$1
shift
exec ip netns exec "$tag\${host#host-}" unshare --uts --mount bash -c \\
  'mount --bind "\$0" /etc/hosts && hostname "\$1" && cd "\$2" && shift 2 && eval "\$*"' "$folder/names" "\$host" "$folder" "\$@"
END
chmod +x on

awk 'BEGIN {
  print "userId,movieId,rating,timestamp"
  for (t = 12; t > 0; --t)
    for (u = 1; u <= 120; ++u)
      if ((u * t) % 5 != 0) printf "u%d,i%d,4,%d\n", (u * 7) % 120 + 1, (u * 3 + t * (1 + u % 2)) % 40, 1000000000 + t * 60
}' > log.csv
command=("$peterrec" pretrain --data log.csv --channels 8 --dilations 1,2 --length 8 --slices 8)
network=10.231.77.0/24
job=("$launcher" --allow-run-as-root --host host-a,host-b,host-c --map-by ppr:1:node --bind-to none
  --mca plm_rsh_agent "$folder/on" --mca btl self,tcp --mca btl_tcp_if_include "$network"
  --mca oob_tcp_if_include "$network")

run 0 "${command[@]}" --epochs 2 --out alone
run 0 ./on host-a "${job[@]}" "${command[@]}" --epochs 2 --out hosts
cmp alone hosts || fail "three hosts wrote another file than one process"

# Bytes on the links: those of the communicators, and headers.
sent_by() { ip netns exec "$tag$1" cat /sys/class/net/eth0/statistics/tx_bytes; }
before=()
for host in "${hosts[@]}"; do before+=("$(sent_by "$host")"); done
run 0 ./on host-a "${job[@]}" "$mpi_tests" count
for i in "${!hosts[@]}"; do
  carried=$(($(sent_by "${hosts[i]}") - before[i]))
  counted=$(sed -nE "s/^rank $i \(host-${hosts[i]}\) counts ([0-9]+) sent.*/\1/p" out)
  echo "host-${hosts[i]} sent $carried bytes, of which the communicator counts $counted"
  ((counted > 5000000 && carried > counted && carried < counted + counted / 10 + 1000000)) ||
    fail "expected the counted bytes and headers"
done

# Other data on one host.
sed 's/i1,/i2,/' log.csv > other.csv
echo 'if [[ "$(hostname)" == host-b ]]; then exec "$@" --data other.csv; fi; exec "$@" --data log.csv' > own_data
run 1 ./on host-a "${job[@]}" bash own_data "$peterrec" pretrain --channels 8 --dilations 1,2 --length 8 --slices 8 --out refused
says "setting data: rank 1 (host-b) has "
[[ ! -e refused ]] || fail "a refused training wrote its result"

# trains: true while a process of the job trains on any host.
trains() {
  local host pid
  for host in "${hosts[@]}"; do
    for pid in $(ip netns pids "$tag$host"); do
      if [[ "$(readlink "/proc/$pid/exe")" == "$peterrec" ]]; then return; fi
    done
  done
  return 1
}

# A link that is cut while the hosts train. mpirun itself waits for its daemon behind the link.
./on host-a "${job[@]}" "${command[@]}" --epochs 100000 --patience 100000 --deadline 3 --log long.jsonl --out cut > out 2>&1 &
job_id=$!
disown "$job_id"  # it is killed at the end
until grep -qs epoch long.jsonl; do
  kill -0 "$job_id" 2> /dev/null || fail "the training ended too early"
  sleep 0.1
done
trains || fail "expected processes that train"
ip link set "${tag}c" down
for ((i = 0; i < 300; ++i)); do
  trains || break
  sleep 0.1
done
if trains; then fail "processes train without a link"; fi
says "no answer from rank 2 (host-c) within 3000 ms"
[[ ! -e cut ]] || fail "a job that lost a host wrote its result"
echo "all processes ended $((i / 10)).$((i % 10)) s after the link was cut"
echo "all good"
