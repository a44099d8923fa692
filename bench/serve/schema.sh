#!/bin/sh
# Asks `ration serve` what its own description allows and forbids, as schemathesis makes it up.
#
#   schema.sh PROGRAM MODEL [REQUESTS_PER_ROUTE]
#
# Fails where an answer is a 5xx but 503 and 504. Needs Python and fetches schemathesis from PyPI.
set -eu
program=$(realpath "$1")
model=$2
requests=${3:-300}
home=$(mktemp -d)
python3 -m venv "$home/venv"
"$home/venv/bin/pip" install --quiet schemathesis
"$program" serve "$model" --port 0 --quiet --context 512 >"$home/out" 2>"$home/err" &
server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -rf "$home"' EXIT
while ! grep -q answers "$home/out"; do
  kill -0 $server || { cat "$home/err" >&2; exit 1; }
  sleep 0.1
done
url=$(sed -n 's/.* answers at \(.*\)\/v1$/\1/p' "$home/out")
cat >"$home/schemathesis.toml" <<'END'
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", 503, 504]
END
"$home/venv/bin/schemathesis" --config-file "$home/schemathesis.toml" run "$url/openapi.json" \
  --url "$url" --checks not_a_server_error --max-examples "$requests" \
  --suppress-health-check all --request-timeout 120
