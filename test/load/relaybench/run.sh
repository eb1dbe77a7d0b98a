#!/bin/sh
# Compares the CPU time of our media relay with that of the C relay beside it.
# Options are those of relaybench: -calls 200,800 -seconds 10 -rounds 3 -pin=true
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT INT TERM
cc -O2 -Wall -Wextra -o "$out/crelay" "$here/../crelay/crelay.c"
(cd "$here" && go build -o "$out/relaybench" .)
"$out/relaybench" -crelay "$out/crelay" "$@"
