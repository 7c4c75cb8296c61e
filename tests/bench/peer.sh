#!/usr/bin/env bash
# peer.sh SOURCE OUT [arguments of bench.py]: a real peer under the same load: builds the C sniffer (bpf/sslsniff)
# of a checkout of github.com/eunomia-bpf/agentsight into the folder OUT, outside of this repository, with Debian's
# clang, bpftool and libbpf, and runs bench.py with it. SOURCE needs its folders bpf/ and vmlinux/. As root.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
source=$(realpath "$1") out=$(realpath -m "$2")
shift 2
case $out in "$(realpath "$(dirname "$0")/../..")"/*) echo "peer.sh: OUT must be outside of the repository" >&2; exit 2 ;; esac
mkdir -p "$out"
bpftool=$(PATH=$PATH:/usr/sbin:/sbin command -v bpftool)
# libbpf before 1.2 has the macros of uprobes under the names of kprobes only.
old=(-DBPF_UPROBE=BPF_KPROBE -DBPF_URETPROBE=BPF_KRETPROBE)
grep -qs 'define BPF_UPROBE' /usr/include/bpf/bpf_tracing.h && old=()
${CLANG:-clang} -g -O2 -target bpf -D__TARGET_ARCH_x86 "${old[@]}" -I"$source/vmlinux/x86" -I"$source/bpf" \
  -c "$source/bpf/sslsniff.bpf.c" -o "$out/sslsniff.bpf.o"
"$bpftool" gen skeleton "$out/sslsniff.bpf.o" name sslsniff_bpf > "$out/sslsniff.skel.h"
cc -O2 -w -I"$out" -I"$source/bpf" "$source/bpf/sslsniff.c" -o "$out/sslsniff" -lbpf -lelf -lz
exec "$(dirname "$0")/bench.py" --peer "$out/sslsniff" --only nginx-tls --watch off,daemon-both,peer,peer-both "$@"
