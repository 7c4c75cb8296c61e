#!/bin/bash
# Outside verifiers on trails of our own writer: a Go program over x/mod and the openssl command line
# accept good trails of awkward sizes and refuse broken copies, each with the file it should name.
#
# Usage:  goverify.sh <directory with trail_gen>        exit status 0 only if every case behaves
# 77 (skipped) when go or golang-golang-x-mod-dev is missing.
set -u
here=$(cd "$(dirname "$0")" && pwd)
bin=$(realpath "${1:?usage: goverify.sh <bin-dir>}")
modules=${INTEROP_GOPATH:-/usr/share/gocode}
if ! command -v go >/dev/null || [ ! -d "$modules/src/golang.org/x/mod/sumdb/note" ]; then
  echo "SKIP: needs golang-go and golang-golang-x-mod-dev"
  echo "0 passed, 0 failed, 1 skipped"
  exit 77
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export GOCACHE="$work/gocache" GOFLAGS=
GO111MODULE=off GOPATH="$modules" go build -o goverify "$here/goverify.go" || exit 1
wrong=0 right=0

expect() { # expect <name> <status> <text> <command...>
  local name=$1 status=$2 text=$3 said rc
  shift 3
  said=$("$@" 2>&1)
  rc=$?
  if [ "$rc" = "$status" ] && [[ $said == *"$text"* ]]; then
    echo "ok    $name: ${said##*$'\n'}"
    right=$((right + 1))
  else
    echo "WRONG $name: status $rc, want $status with \"$text\": $said"
    wrong=$((wrong + 1))
  fi
}

flip() { # flip <file> <offset>: inverts the lowest bit of one byte
  local byte
  byte=$(od -An -tu1 -j"$2" -N1 "$1")
  printf "$(printf '\\x%02x' $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

broken() { # broken <name> <text> <shell command run inside a fresh copy>
  rm -rf copy && cp -r t70000 copy
  (cd copy && eval "$3") || { echo "WRONG $1: the damage could not be done"; wrong=1; }
  expect "$1" 1 "$2" ./goverify t70000/log.vkey copy
}

for size in 1 255 256 257 70000; do
  "$bin/trail_gen" "t$size" "$size" >/dev/null || { echo "WRONG trail_gen $size"; exit 1; }
  expect "good trail of $size" 0 "OK size $size " ./goverify "t$size/log.vkey" "t$size"
  expect "openssl, good trail of $size" 0 "Verified Successfully" "$here/openssl_signature.sh" "t$size"
done

broken "entry byte" "tile/0/100 differs" "flip tile/entries/100 50"
broken "level-0 hash" "tile/0/100 differs" "flip tile/0/100 33"
broken "level-1 hash" "tile/1/000 differs" "flip tile/1/000 33"
broken "level-1 partial tile" "tile/1/001.p/17 differs" "flip tile/1/001.p/17 33"
broken "level-2 partial tile" "tile/2/000.p/1 differs" "flip tile/2/000.p/1 3"
broken "last partial bundle" "differs" "flip tile/entries/273.p/112 50"
broken "removed bundle" "no such file" "rm tile/entries/100"
broken "swapped bundles" "differs" "mv tile/entries/100 x && mv tile/entries/101 tile/entries/100 && mv x tile/entries/101"
broken "extra byte in a bundle" "1 bytes too many" "printf x >> tile/entries/100"
broken "shortened bundle" "cut off" "truncate -s -1 tile/entries/100"
broken "edited size" "invalid signature" "sed -i 2s/70000/69999/ checkpoint"

sed 2s/70000/69999/ t70000/checkpoint > edited
rm -rf copy && cp -r t70000 copy && cp edited copy/checkpoint
expect "openssl, edited size" 1 "Signature Verification Failure" "$here/openssl_signature.sh" copy

# One trail goes on after a copy was kept, and another history is written behind the same beginning.
cp -r t257 kept && cp -r t257 forked
"$bin/trail_gen" t257 50 >/dev/null && "$bin/trail_gen" forked 90 >/dev/null || { echo "WRONG: append"; wrong=$((wrong + 1)); }
expect "grown trail, older checkpoint" 0 "OK size 307" ./goverify kept/log.vkey t257 kept/checkpoint
expect "rollback, nothing remembered" 0 "OK size 257" ./goverify kept/log.vkey kept
expect "rollback, newer checkpoint remembered" 1 "ROLLBACK" ./goverify kept/log.vkey kept t257/checkpoint
expect "fork by the key's owner" 1 "FORK" ./goverify kept/log.vkey forked t257/checkpoint
echo "$right passed, $wrong failed"
[ "$wrong" = 0 ]
