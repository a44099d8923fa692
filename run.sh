#!/usr/bin/env bash
# ./run.sh        sets up what is missing, then starts `ration serve` with the default model
# ./run.sh ARGS   the same, then runs `ration ARGS`: ./run.sh --help lists what there is
#
# The first time installs Debian packages and compiles, which takes minutes; after that it takes no
# time. A change to the sources is compiled in on the next run. scripts/setup.sh has the details and
# the exit codes of set-up.
set -euo pipefail
root=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=scripts/setup.sh
. "$root/scripts/setup.sh"

# Models are kept under the user's cache folder; where that cannot be written, beside the build.
choose_model_folder() {
  local cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  if [ -n "${RATION_HOME:-}" ]; then return; fi
  if [ -n "$cache" ] && mkdir -p -- "$cache/ration" 2>/dev/null && [ -w "$cache/ration" ]; then
    return
  fi
  export RATION_HOME=$build_root/home
  mkdir -p -- "$RATION_HOME"
  say "cannot write to ${cache:-a home folder}: models are kept in $RATION_HOME"
}

install_packages run
build release ration
choose_model_folder
[ $# -gt 0 ] || set -- serve
trap - INT TERM
exec "$build_root/release/ration" "$@"
