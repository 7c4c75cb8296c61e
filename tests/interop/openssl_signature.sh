#!/bin/bash
# Checks the signature of a trail's checkpoint with the openssl command line and nothing of infertrail.
#
# Usage:  openssl_signature.sh <trail-dir> [vkey-file]      exit status 0 only if the signature is valid
set -euo pipefail
trail=${1:?usage: openssl_signature.sh <trail-dir> [vkey-file]}
vkey=${2:-$trail/log.vkey}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

origin=$(head -n 1 "$trail/checkpoint")
sed '/^$/,$d' "$trail/checkpoint" > "$work/body"
# The name chooses the line: a note may carry signatures of witnesses too.
awk -v name="$origin" '$1 == "\342\200\224" && $2 == name { print $3 }' "$trail/checkpoint" |
  base64 -d | tail -c 64 > "$work/signature"
# DER SubjectPublicKeyInfo of Ed25519 (RFC 8410) in front of the 32 raw bytes.
{
  printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00'
  sed 's/^[^+]*+[^+]*+//' "$vkey" | base64 -d | tail -c 32
} | openssl pkey -pubin -inform DER -out "$work/key.pem"
openssl pkeyutl -verify -pubin -inkey "$work/key.pem" -rawin -in "$work/body" -sigfile "$work/signature"
