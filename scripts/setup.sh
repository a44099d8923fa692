# shellcheck shell=bash
# scripts/setup.sh - what run.sh and test.sh share: packages, configuring, building, clear words.
#
# Sourced under `set -euo pipefail` with `root` set to the top of the tree. Everything it says goes
# to standard error, so that standard output stays the program's. Nothing to do, nothing said.
#
# Environment, all optional:
#   RATION_BUILD     folder for builds and their logs (default: build/ in the tree)
#   RATION_JOBS      compilers at a time (default: as CPUs and free memory allow)
#   RATION_SETUP     "skip": install nothing, take the machine as it is
#   RATION_PATIENCE  seconds to wait while somebody else uses apt (default: 600)

# Exit codes of set-up. `ration` itself uses 0 to 5; 69 and 70 are those of <sysexits.h>.
exit_network=5   # no package or file could be fetched
exit_machine=69  # the machine lacks something that this script may not install
exit_build=70    # configuring or compiling failed

: "${root:?set root before sourcing scripts/setup.sh}"
build_root=${RATION_BUILD:-$root/build}
case $build_root in /*) ;; *) build_root=$PWD/$build_root ;; esac

say() { printf '[%3d s] %s\n' "$SECONDS" "$*" >&2; }

die() {  # die CODE WORDS...
  local code=$1
  shift
  printf 'set-up: %s\n' "$@" >&2
  exit "$code"
}

interrupted() {
  trap - INT TERM
  printf '\nset-up: interrupted; what is finished is kept, the next run goes on from there\n' >&2
  exit 130
}

check_machine() {
  local system machine
  system=$(uname -s) machine=$(uname -m)
  [ "$system" = Linux ] || die $exit_machine "found $system, wanted Linux"
  [ "$machine" = x86_64 ] ||
    die $exit_machine "found processor $machine, wanted x86_64: there are no other kernels so far"
}

# --- packages --------------------------------------------------------------------------------

packages_of() {  # packages_of GROUP...: their names, in file order
  local wanted=" $* " group package _
  while read -r group package _; do
    case $wanted in *" $group "*) printf '%s\n' "$package" ;; esac
  done < <(grep -v '^#' "$root/scripts/packages.txt")
}

missing_packages() {  # missing_packages GROUP...: one a line
  local installed package packages
  mapfile -t packages < <(packages_of "$@")
  # dpkg-query fails when it has never heard of one of them: that is an answer, not an error.
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null ||
    true)
  for package in "${packages[@]}"; do
    case $'\n'$installed$'\n' in
      *$'\n'"$package installed"$'\n'*) ;;
      *) printf '%s\n' "$package" ;;
    esac
  done
}

# Where there is no apt-get we install nothing; the build says which library it does not find.
check_tools() {
  local tool lacking=()
  for tool in clang++-19 ld.lld-19 cmake ninja pkg-config python3; do
    command -v "$tool" >/dev/null || lacking+=("$tool")
  done
  [ ${#lacking[@]} -eq 0 ] ||
    die $exit_machine "this system has no apt-get, so install these yourself: ${lacking[*]}" \
      "the whole list, by its Debian 12 names: $(packages_of run test | tr '\n' ' ')"
}

# Runs apt-get with its output in $log and returns its verdict. Waits a while when somebody else
# holds the lock of apt or dpkg, and finishes a dpkg run that was cut short before.
apt() {
  local waited=0 patience=${RATION_PATIENCE:-600} is_repaired=no output=$log.last
  local -a run=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C)
  while :; do
    if "${run[@]}" apt-get -q -o Acquire::Retries=2 -o Acquire::http::Timeout=20 "$@" \
      </dev/null >"$output" 2>&1; then
      cat -- "$output" >>"$log"
      return 0
    fi
    cat -- "$output" >>"$log"
    if grep -qE 'Could not get lock|Unable to (acquire|lock)' "$output"; then
      [ $waited -lt "$patience" ] ||
        die $exit_machine "another program has held apt's lock for $waited seconds"
      [ $waited -gt 0 ] || say "another program is using apt; waiting for it"
      sleep 5
      waited=$((waited + 5))
    elif [ $is_repaired = no ] && grep -q 'dpkg was interrupted' "$output"; then
      say "an earlier installation was cut short; finishing it (dpkg --configure -a)"
      "${run[@]}" dpkg --configure -a </dev/null >>"$log" 2>&1 || return 1
      is_repaired=yes
    else
      return 1
    fi
  done
}

explain_apt_failure() {
  local system='an unknown system' unknown
  local unreachable='Temporary failure resolving|Could not (resolve|connect)|Failed to fetch'
  unreachable+='|Connection (failed|timed out|refused)|Unable to (connect|fetch)'
  if [ -r /etc/os-release ]; then
    # shellcheck source=/dev/null
    system=$(. /etc/os-release && printf '%s' "${PRETTY_NAME:-$system}")
  fi
  unknown=$(sed -n 's/.*Unable to locate package //p' "$log" | sort -u | tr '\n' ' ')
  if grep -qE 'No space left on device|enough free space' "$log"; then
    die $exit_machine "the disk is full; details are in $log"
  elif grep -qE "$unreachable" "$log"; then
    die $exit_network "no package could be fetched: is this machine connected?" \
      "details are in $log"
  elif [ -n "$unknown" ]; then
    die $exit_machine "apt-get does not know $unknown" \
      "found $system, wanted Debian 12; details are in $log"
  fi
  tail -n 15 -- "$log" >&2
  die $exit_machine "apt-get failed; the whole of what it said is in $log"
}

install_packages() {  # install_packages GROUP...
  local missing log
  local -a as_root=()
  if [ "${RATION_SETUP:-}" = skip ]; then return; fi
  if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    check_tools
    return
  fi
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
    "${as_root[@]}" true 2>/dev/null ||
      die $exit_machine "found ${#missing[@]} packages missing, and only root may install them" \
        "run this line once, then again what you ran:" \
        "sudo sh -c 'apt-get update; apt-get install -y --no-install-recommends ${missing[*]}'"
  fi
  make_build_root
  log=$build_root/packages.log
  : >"$log"
  say "installing ${#missing[@]} packages with apt-get: ${missing[*]}"
  # A source list of somebody else's that does not answer is no reason to stop: installing decides.
  apt update || true
  apt install -y --no-install-recommends "${missing[@]}" || explain_apt_failure
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -eq 0 ] || die $exit_machine "apt-get did not install ${missing[*]} (see $log)"
  hash -r
}

# --- build -----------------------------------------------------------------------------------

make_build_root() {
  local owned=$build_root
  mkdir -p -- "$build_root" 2>/dev/null || true
  if [ -w "$build_root" ]; then return; fi
  [ -e "$owned" ] || owned=$root
  die $exit_machine "cannot write to $build_root ($owned belongs to $(stat -c %U -- "$owned"))" \
    "set RATION_BUILD to a folder that you may write to"
}

# Compilers at a time: a CPU each, and 1.5 GB each of the memory that is free.
jobs_at_once() {
  local cpus free_kb
  if [ -n "${RATION_JOBS:-}" ]; then
    printf '%s' "$RATION_JOBS"
    return
  fi
  cpus=$(nproc)
  free_kb=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
  awk -v cpus="$cpus" -v kb="${free_kb:-1500000}" \
    'BEGIN { n = int(kb / 1500000); if (n > cpus) n = cpus; print (n < 1 ? 1 : n) }'
}

# Reads ninja's output and says every 10 s how far it is.
progress() {  # progress WHAT JOBS
  local line said=-1
  while IFS= read -r line; do
    [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
    case $line in *'Re-checking globbed'* | *'Re-running CMake'*) continue ;; esac
    if [ $said -lt 0 ]; then
      say "building $1: ${BASH_REMATCH[2]} steps, $2 at a time"
      said=$SECONDS
    elif [ $((SECONDS - said)) -ge 10 ]; then
      say "  ${BASH_REMATCH[1]} of ${BASH_REMATCH[2]}"
      said=$SECONDS
    fi
  done
}

explain_build_failure() {  # explain_build_failure WHAT LOG
  local free
  if grep -q 'No space left on device' "$2"; then
    free=$(df -h --output=avail -- "$build_root" | tail -n 1)
    die $exit_build "the disk is full: ${free// /} left for $build_root"
  elif grep -qE 'Killed|LLVM ERROR: out of memory|Cannot allocate memory' "$2"; then
    die $exit_build "a compiler was killed, most likely for want of memory" \
      "try RATION_JOBS=1 (log: $2)"
  fi
  grep -m 5 -A 3 -E 'error:|CMake Error|^ninja: error' -- "$2" >&2 || tail -n 20 -- "$2" >&2
  die $exit_build "$1 failed; the whole log is $2"
}

# A folder that was configured elsewhere, by other presets, or only half, starts anew.
configure() {  # configure PRESET DIR LOG
  local source_was=
  if [ -f "$2/CMakeCache.txt" ]; then
    source_was=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$2/CMakeCache.txt")
  fi
  if [ -f "$2/build.ninja" ] && [ "$source_was" = "$root" ] &&
    cmp -s "$root/CMakePresets.json" "$2/.presets"; then
    return
  fi
  say "configuring $1"
  rm -rf -- "$2/.presets" "$2/CMakeCache.txt" "$2/CMakeFiles"
  (cd -- "$root" && cmake --preset "$1" -B "$2") >"$3" 2>&1 </dev/null ||
    explain_build_failure "configuring $1" "$3"
  cp -- "$root/CMakePresets.json" "$2/.presets"
}

# Brings TARGETs of one preset up to date. One build at a time in a folder: the second waits.
build() {  # build PRESET TARGET...
  local preset=$1 dir=$build_root/$1 log=$build_root/$1.log at_once
  shift
  if [ -e "$dir/build.ninja" ] && [ ! -w "$dir" ]; then
    # Somebody else's build: fine as long as nothing is left to do in it.
    if ninja -C "$dir" -n "$@" 2>/dev/null | grep -q 'no work to do'; then return; fi
  fi
  make_build_root
  mkdir -p -- "$dir"
  [ -w "$dir" ] || die $exit_machine "cannot write to $dir (owner: $(stat -c %U -- "$dir"))"
  exec 9<"$dir"
  if ! flock -n 9; then
    say "another run.sh or test.sh is building $preset; waiting for it"
    flock 9
  fi
  configure "$preset" "$dir" "$log"
  at_once=$(jobs_at_once)
  NINJA_STATUS='[%f/%t] ' ninja -C "$dir" -j "$at_once" "$@" 2>&1 </dev/null |
    tee -- "$log" | progress "$preset" "$at_once" ||
    explain_build_failure "building $preset" "$log"
  exec 9<&-
}

trap interrupted INT TERM
check_machine
