#!/usr/bin/env bash
# package_test.sh BUILD CPACK: the Debian package is made, installed into a root of its own, used
# and removed. Dependencies are not looked up there: the program runs with this machine's libraries.
set -euo pipefail
build=$1 cpack=$2
folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT

fail() {
  printf 'package_test: %s\n' "$*" >&2
  exit 1
}

"$cpack" -G DEB --config "$build/CPackConfig.cmake" -B "$folder" >"$folder/log" 2>&1 || {
  cat -- "$folder/log" >&2
  fail "cpack failed"
}
deb=$(echo "$folder"/*.deb)
[ -f "$deb" ] || fail "found no package in $folder"
[[ $(dpkg-deb -f "$deb" Package) == ration ]] || fail "the package is not called ration"
depends=$(dpkg-deb -f "$deb" Depends)
for library in libc6 libcurl4 libssl3 libfmt9; do
  [[ $depends == *"$library"* ]] || fail "found depends '$depends', wanted $library among them"
done

root=$folder/root
mkdir -p -- "$root/var/lib/dpkg/updates" "$root/var/lib/dpkg/info"
: >"$root/var/lib/dpkg/status"
: >"$root/var/lib/dpkg/available"
dpkg=(dpkg "--root=$root" --force-not-root --force-script-chrootless --force-depends
  --force-bad-path "--log=$folder/dpkg.log")
"${dpkg[@]}" -i "$deb" >"$folder/log" 2>&1 || {
  cat -- "$folder/log" >&2
  fail "dpkg could not install it"
}
[[ $("$root/usr/bin/ration" --version) == ration\ [0-9]* ]] || fail "the installed program is mute"
"$root/usr/bin/ration" config check "$root/etc/ration/config.toml" >/dev/null ||
  fail "the service's configuration is not fine"
bash -n "$root/usr/share/bash-completion/completions/ration" || fail "the completion is no bash"
for file in lib/systemd/system/ration.service lib/systemd/system/ration.socket \
  share/doc/ration/config.md share/doc/ration/README.md; do
  [ -f "$root/usr/$file" ] || fail "found no /usr/$file"
done

echo '# mine' >>"$root/etc/ration/config.toml"
"${dpkg[@]}" -r ration >"$folder/log" 2>&1 || fail "dpkg could not remove it"
[ ! -e "$root/usr/bin/ration" ] || fail "the program is still there after removing the package"
grep -q '# mine' "$root/etc/ration/config.toml" || fail "the user's configuration is gone"
echo "package_test: $(basename -- "$deb") is made, installed, used and removed"
