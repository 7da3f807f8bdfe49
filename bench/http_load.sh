#!/usr/bin/env bash
# Load on the serve program over HTTP: bench/http_load.sh SERVE MODEL [SECONDS]
#   mixed      90 % events and 10 % recommendations of 2,000 users, as fast as 64 connections allow
#   recommend  recommendations for one user, as fast as 32 connections allow
#   open       9,000 events and 1,000 recommendations per second
#   durable    events that are on disk when they are answered, 64 connections
#   bodies     durable events in bodies of 900, 16 connections
# Each part takes SECONDS (10). The server has one thread and a log in a temporary folder; clients
# run on the same computer. Prints requests per second, and latencies in milliseconds.
set -euo pipefail
serve=$(realpath "$1") model=$(realpath "$2") seconds=${3:-10}
source "$(dirname "${BASH_SOURCE[0]}")/../tests/install.sh"
need wrk wrk
need h2load nghttp2-client
need curl curl
need python3 python3
install_missing

folder=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
"$serve" --model "$model" --listen 127.0.0.1:0 --log events.sqlite --threads 1 2> messages &
until grep -q listening messages; do sleep 0.1; done
url=$(sed -nE 's/.*listening on (.*)/\1/p' messages)
json=(-H 'Content-Type: application/json')

# The model's most popular items.
curl -sS "${json[@]}" -d '{"user": "nobody", "task": "next", "k": 1000}' "$url/v1/recommend" |
  python3 -c 'import json, sys; print("\n".join(each["id"] for each in json.load(sys.stdin)["best"]))' > items
python3 - << 'END'
import json
import random

random.seed(1)
items = open("items").read().split("\n")[:-1]
event = lambda user: json.dumps({"user": user, "item": random.choice(items)})
open("event", "w").write(event("one"))
open("request", "w").write(json.dumps({"user": "one", "task": "next", "k": 10}))
open("body", "w").write("\n".join(event(f"user{random.randrange(2000)}") for _ in range(900)))
END
cat > mixed.lua << 'END'
math.randomseed(7)
local headers = {["Content-Type"] = "application/json"}
local items = {}
for item in io.lines("items") do items[#items + 1] = item end
function request()
  local user = "user" .. math.random(2000)
  if math.random() < 0.1 then
    return wrk.format("POST", "/v1/recommend", headers, '{"user":"' .. user .. '","task":"next","k":10}')
  end
  return wrk.format("POST", "/v1/events", headers, '{"user":"' .. user .. '","item":"' .. items[math.random(#items)] .. '"}')
end
END
curl -sS "${json[@]}" -d @event "$url/v1/events" > /dev/null
curl -sS "${json[@]}" -d @request "$url/v1/recommend" > /dev/null

# load NAME BODY PATH OPTIONS...: h2load; its log has the status and microseconds of each request.
load() {
  h2load --h1 -t 1 -D "$seconds" --log-file="$1.log" -d "$2" -H "content-type: ${type:-application/json}" "${@:4}" "$url$3" > "$1.out"
}
# report NAME: the figures of load.
report() {
  python3 - "$1" "$seconds" << 'END'
import sys

name, seconds = sys.argv[1:]
rows = [line.split() for line in open(name + ".log")]
times = sorted(int(row[2]) / 1000 for row in rows if row[1].startswith("2"))
at = lambda part: times[min(int(len(times) * part), len(times) - 1)]
print(f"{name:10} {len(times) / float(seconds):8.0f}/s  p50 {at(.5):.2f}  p99 {at(.99):.2f}  p99.9 {at(.999):.2f}  "
      f"largest {times[-1]:.2f} ms, {len(rows) - len(times)} failed")
END
}

wrk -t1 -c64 -d"${seconds}s" --latency -s mixed.lua "$url" > mixed.out
awk '/^ +(50|99)%/ { sub("ms", "", $2); latency = latency "  p" substr($1, 1, 2) " " $2 } /Requests\/sec/ { rate = $2 } /Non-2xx/ { failed = $0 }
  END { printf "mixed      %8.0f/s%s ms%s\n", rate, latency, failed }' mixed.out
load recommend request /v1/recommend -c 32
report recommend
load events event /v1/events -c 60 --rps 150 &
events=$!
load requests request /v1/recommend -c 4 --rps 250
wait "$events"
report events
report requests
load durable event '/v1/events?durable=1' -c 64
report durable
type=application/x-ndjson load bodies body '/v1/events?durable=1' -c 16
report bodies
grep -E 'VmRSS' "/proc/$(pgrep -f -n "^$serve ")/status" | awk '{ printf "memory     %8.0f MB\n", $2 / 1000 }'
