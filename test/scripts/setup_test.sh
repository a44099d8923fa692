#!/usr/bin/env bash
# setup_test.sh ROOT: run.sh and what it shares with test.sh, in a made-up tree and machine.
# apt-get, dpkg-query, sudo, cmake and ninja are small scripts that do as each case says; everything
# else is real. Ends with "N passed, N failed".
set -uo pipefail
root=$1
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
passed=0 failed=0
tree="$scratch/a tree"   # a space, on purpose
machine="$scratch/machine" # what the made-up commands know and record
export machine

# --- the made-up machine ---------------------------------------------------------------------

command_of() {  # command_of NAME < BODY
  { printf '#!/bin/bash\n'; cat; } >"$scratch/bin/$1"
  chmod +x "$scratch/bin/$1"
}

new_machine() {
  rm -rf -- "${scratch:?}"/*
  mkdir -p "$scratch/bin" "$machine" "$tree/scripts" "$scratch/home"
  cp -- "$root/run.sh" "$root/CMakePresets.json" "$tree/"
  cp -- "$root/scripts/setup.sh" "$root/scripts/packages.txt" "$tree/scripts/"
  sed -n 's/^run *\([^ ]*\).*/\1/p' "$root/scripts/packages.txt" >"$machine/installed"
  echo x86_64 >"$machine/arch"
  echo 0 >"$machine/uid"
  local tool
  for tool in bash dirname readlink grep sed awk cat tee cmp cp rm mkdir stat df tail tr sort env \
    flock nproc true head chmod; do
    ln -s -- "$(type -P $tool)" "$scratch/bin/$tool"
  done
  command_of uname <<'B'
[ "$1" = -s ] && echo Linux || cat "$machine/arch"
B
  command_of id <<'B'
cat "$machine/uid"
B
  command_of sleep <<'B'
echo "sleep $*" >>"$machine/calls"
B
  command_of dpkg-query <<'B'
while read -r package; do echo "$package installed"; done <"$machine/installed"
B
  command_of dpkg <<'B'
echo "dpkg $*" >>"$machine/calls"
B
  command_of sudo <<'B'
[ -e "$machine/sudo" ] || exit 1
shift
exec "$@"
B
  # Says what the first line of apt.says holds and fails; when none is left, installs.
  command_of apt-get <<'B'
echo "apt-get $*" >>"$machine/calls"
for verb; do case $verb in update) exit 0 ;; install) break ;; esac; done
if [ -s "$machine/apt.says" ]; then
  head -n 1 "$machine/apt.says"
  sed -i 1d "$machine/apt.says"
  exit 100
fi
for word; do
  case $word in -* | install | Acquire*) ;; *) echo "$word" >>"$machine/installed" ;; esac
done
B
  command_of cmake <<'B'
echo "cmake $*" >>"$machine/calls"
for dir; do :; done
[ ! -s "$machine/cmake.says" ] || { cat "$machine/cmake.says"; exit 1; }
echo "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" >"$dir/CMakeCache.txt"
: >"$dir/build.ninja"
B
  command_of ninja <<'B'
echo "ninja $*" >>"$machine/calls"
if [ -s "$machine/ninja.says" ]; then cat "$machine/ninja.says"; exit 1; fi
[ ! -e "$machine/ninja.prints" ] || cat "$machine/ninja.prints"
if [ -e "$machine/ninja.sleeps" ]; then echo '[1/2] a.o'; "$machine/real_sleep" 20; fi
mkdir -p "$2"
printf '#!/bin/bash\nprintf "<%%s>" "$@"\necho " home=${RATION_HOME:-}"\n' >"$2/ration"
chmod +x "$2/ration"
B
  ln -s -- "$(type -P sleep)" "$machine/real_sleep"
}

run() {  # run ARGS...: sets code, out, err
  (cd / && PATH=$scratch/bin HOME=${home:-$scratch/home} exec "$tree/run.sh" "$@") \
    >"$scratch/out" 2>"$scratch/err" </dev/null
  code=$?
  out=$(cat "$scratch/out") err=$(cat "$scratch/err")
}

# --- what is checked -------------------------------------------------------------------------

check() {  # check WORDS CONDITION...
  local words=$1
  shift
  if "$@"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s: %s\n  code %s\n  out: %s\n  err: %s\n' "$case_name" "$words" "$code" \
      "$out" "$err"
  fi
}
has() { [[ $1 == *"$2"* ]]; }
lacks() { [[ $1 != *"$2"* ]]; }
calls() { cat "$machine/calls" 2>/dev/null; }
begin() {
  case_name=$1
  code='' out='' err=''
  new_machine
}

begin 'everything is there'
run
run
check 'the second run says nothing' [ "$code/$out/$err" = '0/<serve> home=/' ]
run run 'a model' -f 'my file' --json
check 'arguments pass through' [ "$out" = '<run><a model><-f><my file><--json> home=' ]
ln -s "$tree/run.sh" "$scratch/link"
out=$(cd "$scratch/home" && PATH=$scratch/bin HOME=$scratch/home "$scratch/link" list 2>&1)
check 'it works through a link' [ "$out" = '<list> home=' ]
check 'nothing was installed' lacks "$(calls)" apt-get

begin 'packages are missing, root'
sed -i '/libfmt-dev/d; /cmake/d' "$machine/installed"
run --version
check 'it goes on' [ "$code/$out" = '0/<--version> home=' ]
check 'it says what it installs' has "$err" 'installing 2 packages with apt-get: cmake libfmt-dev'
check 'only those' has "$(calls)" 'install -y --no-install-recommends cmake libfmt-dev'

begin 'packages are missing, sudo without a password'
sed -i '/libfmt-dev/d' "$machine/installed"
echo 1000 >"$machine/uid"
: >"$machine/sudo"
run --version
check 'it goes on' [ "$code" = 0 ]

begin 'packages are missing, no root'
sed -i '/libfmt-dev/d' "$machine/installed"
echo 1000 >"$machine/uid"
run
check 'it stops with its own code' [ $code = 69 ]
check 'it prints the one line' has "$err" \
  "sudo sh -c 'apt-get update; apt-get install -y --no-install-recommends libfmt-dev'"
check 'it installs nothing' lacks "$(calls)" apt-get

begin 'no root, nothing missing'
echo 1000 >"$machine/uid"
run
check 'root is not needed' [ "$code/$out" = '0/<serve> home=' ]

begin 'somebody else uses apt'
sed -i '/libfmt-dev/d' "$machine/installed"
for _ in 1 2; do
  echo 'E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 7 (apt)' \
    >>"$machine/apt.says"
done
run
check 'it waits and goes on' [ "$code" = 0 ]
check 'it says so once' [ "$(grep -c 'another program is using apt' <<<"$err")" = 1 ]
for _ in 1 2 3 4; do
  echo 'E: Unable to acquire the dpkg frontend lock' >>"$machine/apt.says"
done
sed -i '/libfmt-dev/d' "$machine/installed"
RATION_PATIENCE=10 run
check 'it does not wait for ever' [ $code = 69 ]
check 'it says how long' has "$err" "another program has held apt's lock for 10 seconds"

begin 'an installation was cut short'
sed -i '/libfmt-dev/d' "$machine/installed"
echo "E: dpkg was interrupted, you must manually run 'dpkg --configure -a'" >"$machine/apt.says"
run
check 'it is finished first' has "$(calls)" 'dpkg --configure -a'
check 'then it goes on' [ "$code" = 0 ]

begin 'no network'
sed -i '/libfmt-dev/d' "$machine/installed"
echo "Err: Temporary failure resolving 'mirror'" >"$machine/apt.says"
run
check 'network has its code' [ $code = 5 ]
check 'the words are clear' has "$err" 'is this machine connected?'

begin 'another Debian'
sed -i '/libfmt-dev/d' "$machine/installed"
echo 'E: Unable to locate package libfmt-dev' >"$machine/apt.says"
run
check 'it names the package' has "$err" 'apt-get does not know libfmt-dev'
check 'it stops' [ $code = 69 ]

begin 'no Debian at all'
rm "$scratch/bin/apt-get"
run
check 'it says what it needs' has "$err" 'install these yourself: clang++-19'
check 'it stops' [ $code = 69 ]
RATION_SETUP=skip run
check 'it can be told to go on' [ $code = 0 ]

begin 'another processor'
echo aarch64 >"$machine/arch"
run
check 'it says so' has "$err" 'found processor aarch64, wanted x86_64'
check 'it stops' [ $code = 69 ]

begin 'a build that fails'
printf '[1/2] x\nx.cpp:3:1: error: expected a word\nninja: build stopped\n' >"$machine/ninja.says"
run
check 'it has its code' [ $code = 70 ]
check 'it shows the error' has "$err" 'x.cpp:3:1: error: expected a word'
check 'it names the log' has "$err" "the whole log is $tree/build/release.log"
check 'the log holds it' grep -q 'expected a word' "$tree/build/release.log"
printf 'x.o: No space left on device\n' >"$machine/ninja.says"
run
check 'a full disk is named' has "$err" 'the disk is full'
printf 'clang: error: clang frontend command failed: Killed\n' >"$machine/ninja.says"
run
check 'want of memory is named' has "$err" 'RATION_JOBS=1'
rm "$machine/ninja.says"
run
check 'after mending it goes on' [ "$code" = 0 ]

begin 'a configuration that fails'
echo 'CMake Error: no compiler' >"$machine/cmake.says"
run
check 'it has its code and words' has "$code $err" 'CMake Error: no compiler'
rm "$machine/cmake.says"
run
check 'it starts anew' [ "$code" = 0 ]

begin 'configured only when something changed'
run
run
check 'once' [ "$(grep -c '^cmake' "$machine/calls")" = 1 ]
rm "$tree/build/release/build.ninja"
run
check 'again when it was cut short' [ "$(grep -c '^cmake' "$machine/calls")" = 2 ]
echo ' ' >>"$tree/CMakePresets.json"
run
check 'again when the presets changed' [ "$(grep -c '^cmake' "$machine/calls")" = 3 ]
sed -i 's/a tree/other/' "$tree/build/release/CMakeCache.txt"
run
check 'again when the tree moved' [ "$(grep -c '^cmake' "$machine/calls")" = 4 ]

begin 'progress'
printf '[0/2] Re-checking globbed directories...\n[1/7] x.o\n' >"$machine/ninja.prints"
run
check 'it counts what is built' has "$err" 'building release: 7 steps'
printf '[0/2] Re-checking globbed directories...\nninja: no work to do.\n' >"$machine/ninja.prints"
run
check 'it is silent when nothing is' [ "$err" = '' ]

begin 'two at the same time'
run
(
  exec 8<"$tree/build/release"
  flock 8
  : >"$scratch/held"
  "$machine/real_sleep" 2
) &
until [ -e "$scratch/held" ]; do "$machine/real_sleep" 0.05; done
run --version
wait
check 'the second waits and says so' has "$err" 'another run.sh or test.sh is building release'
check 'then it goes on' [ "$code/$out" = '0/<--version> home=' ]

begin 'Ctrl-C'
: >"$machine/ninja.sleeps"
set -m
PATH=$scratch/bin HOME=$scratch/home "$tree/run.sh" >"$scratch/out" 2>"$scratch/err" &
pid=$!
set +m
until grep -q 'building release:' "$scratch/err" 2>/dev/null; do "$machine/real_sleep" 0.05; done
kill -INT -- "-$pid"
wait $pid
code=$? out='' err=$(cat "$scratch/err")
check 'it has the usual code' [ $code = 130 ]
check 'it says what remains' has "$err" 'interrupted; what is finished is kept'
rm "$machine/ninja.sleeps"
run
check 'the next run goes on' [ "$code" = 0 ]

begin 'a home that cannot be written'
home=/proc/nowhere run
check 'models go beside the build' [ "$out" = "<serve> home=$tree/build/home" ]
check 'it says so' has "$err" "models are kept in $tree/build/home"

begin 'a build folder of its own'
RATION_BUILD="$scratch/home/elsewhere" run
check 'it is used' [ -x "$scratch/home/elsewhere/release/ration" ]
check 'the tree stays clean' [ ! -e "$tree/build" ]
RATION_BUILD=/proc/nowhere run
check 'one that cannot be made is named' has "$code $err" '69 set-up: cannot write to /proc/nowhere'

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
