#!/bin/sh
# The official openai client of npm against the real program and a tiny model that answers by rote:
#
#   npm_client_test.sh RATION FOLDER_OF_TINY_MODELS
#
# The client is fetched once, with npm, into ${RATION_TEST_CACHE:-~/.cache/ration/test}. Where there
# is no node or no network this ends with 77, which ctest counts as skipped.
set -eu

client=openai@6.30.1
ration=$1
models=$2
here=$(dirname -- "$(readlink -f -- "$0")")
folder=${RATION_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ration/test}/npm-$client

if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
  echo "npm_client_test.sh: skipped: there is no node" >&2
  exit 77
fi
if [ ! -d "$folder/node_modules/openai" ]; then
  mkdir -p "$(dirname "$folder")"
  # Beside and then in place, so that a cut download is never taken for a client.
  work=$(mktemp -d "$folder.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  npm install --silent --no-fund --no-audit --prefix "$work" "$client" || {
    echo "npm_client_test.sh: skipped: npm could not fetch $client" >&2
    exit 77
  }
  rm -rf "$folder"
  mv "$work" "$folder"
fi
OPENAI_CLIENT=$folder/node_modules/openai/index.mjs node --test-reporter=spec \
  "$here/npm_client_test.mjs" "$ration" "$models"
