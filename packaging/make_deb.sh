#!/usr/bin/env bash
# packaging/make_deb.sh [FOLDER]: builds the Debian package into FOLDER (default: build/deb) and
# prints where it is. Sets up what is missing, as run.sh does.
set -euo pipefail
root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
# shellcheck source=scripts/setup.sh
. "$root/scripts/setup.sh"

install_packages run test
build release ration
folder=$(mkdir -p -- "${1:-$build_root/deb}" && cd -- "${1:-$build_root/deb}" && pwd)
log=$folder/cpack.log
cpack -G DEB --config "$build_root/release/CPackConfig.cmake" -B "$folder" >"$log" 2>&1 || {
  tail -n 20 -- "$log" >&2
  die "${exit_build:?}" "the package could not be made (log: $log)"
}
rm -rf -- "$folder/_CPack_Packages"
ls -- "$folder"/*.deb
