#!/usr/bin/env bash
# Runs every fuzz target of the module for the time given, such as 3s: a package
# for each processor at a time, and a worker for each target.
set -euo pipefail
cd "$(dirname "$0")/.."
export time=$1 work
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Before Go 1.27 the end of the time may be taken for a failure (golang/go#75804):
# a deadline and no failing input. Then the target runs again.
deadline_only() {
  grep -qx '    context deadline exceeded' "$1" && ! grep -q 'Failing input written to\|panic:\|--- FAIL: .*/' "$1"
}

fuzz() {
  local package=$1 target=$2 own=$3
  for _ in 1 2 3; do
    (cd "$package" && TMPDIR=$own "$own/fuzz.test" -test.run '^$' -test.parallel 1 -test.fuzz "^$target\$" -test.fuzztime "$time" \
      -test.fuzzcachedir "$own/cache") >"$own/said" 2>&1 </dev/null && return
    deadline_only "$own/said" || break
    echo "  again $package $target: the time was up in the wrong moment"
  done
  echo "failed $package $target:"
  cat "$own/said"
  return 1
}

# One program for all targets of a package: most of the time would go into linking.
package() {
  local own target failed=0
  own=$(mktemp -d -p "$work")
  go test -c -fuzz=Fuzz -vet=off -ldflags=-s -o "$own/fuzz.test" "$1"
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$1"/*_test.go | cut -d' ' -f2); do
    echo "fuzz $1 $target"
    fuzz "$1" "$target" "$own" || failed=1
  done
  rm -r "$own"
  return $failed
}
export -f deadline_only fuzz package

grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u |
  xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'package {}'
