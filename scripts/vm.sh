#!/usr/bin/env bash
# vm.sh KERNEL COMMAND…: runs the command as root in a QEMU guest with a Debian cloud kernel.
#   KERNEL: 5.10 | 6.1 | 6.12 | 7.2 (the newest 7.x)
# The guest's root is this host's root through virtiofs, read-only under a tmpfs overlay: same paths,
# nothing is written back. Its working directory is ours. Environment variables are not carried.
# Exit code: the command's; 124 = ran past VM_TIMEOUT (120 s); 125 = the guest did not come up.
# Environment: VM_OUT (a host folder, writable at the same path in the guest), VM_TIMEOUT, VM_MEM (1024
# MiB), VM_SMP (2), VM_APPEND (kernel arguments), VM_CACHE (~/.cache/infertrail-vm), VM_LOG (console).
# QEMU below 8 miscompiles cmpxchg under TCG (6.12 guests die at boot): 10 comes from bookworm-backports.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
kernel=$1
shift
cache=${VM_CACHE:-$HOME/.cache/infertrail-vm}
qemu=$cache/qemu/usr/bin/qemu-system-x86_64
virtiofsd=$cache/virtiofsd/usr/lib/qemu/virtiofsd
busybox=/bin/busybox
early_modules="virtio_pci fuse virtiofs overlay"   # in the initramfs; the rest is loaded on demand

fetch() {   # fetch SUITE REGEX…: the newest matching packages of a suite into ./, from an apt state of its own
  local suite=$1 state=$cache/apt/$1 mirror host pattern package
  shift
  mirror=$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/\?$' | sed 's,/$,,')
  host=$mirror
  case $suite in *-security) host=${mirror%/debian}/debian-security ;; esac
  mkdir -p "$state"/{lists/partial,cache/archives/partial}
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $host $suite main" > "$state/sources.list"
  cat > "$state/apt.conf" <<-C
	Dir::State "$state"; Dir::State::lists "$state/lists"; Dir::State::status "/dev/null"; Dir::Cache "$state/cache";
	Dir::Etc::sourcelist "$state/sources.list"; Dir::Etc::sourceparts "/dev/null"; Dir::Etc::preferencesparts "/dev/null";
	APT::Sandbox::User "root";
	C
  export APT_CONFIG=$state/apt.conf
  apt-get -qq update >&2
  for pattern; do
    package=$(apt-cache search --names-only "$pattern" | cut -d' ' -f1 | sort -V | tail -1)
    [ -n "$package" ] || { echo "vm.sh: no package for $pattern in $suite" >&2; return 1; }
    apt-get -qq download "$package" >&2
  done
  unset APT_CONFIG
}

unpack_here() {   # unpack_here SUITE DIR REGEX…
  local suite=$1 into=$2 scratch file
  shift 2
  scratch=$(mktemp -d)
  (cd "$scratch" && fetch "$suite" "$@")
  for file in "$scratch"/*.deb; do dpkg -x "$file" "$into"; done
  rm -rf "$scratch"
}

tools() {
  [ -x "$qemu" ] || unpack_here bookworm-backports "$cache/qemu" \
    '^qemu-system-x86$' '^qemu-system-data$' '^qemu-system-common$' '^seabios$'
  [ -x "$virtiofsd" ] || unpack_here bookworm "$cache/virtiofsd" '^qemu-system-common$'
}

early() {   # copies the early modules and what they need, in load order
  local rd=$1 modules=$2 name line file
  touch "$rd/order"
  for name in $early_modules; do
    line=$(grep -E "/${name//_/[-_]}\.ko:" "$modules/modules.dep" || true)
    [ -n "$line" ] || continue   # built in
    for file in $(echo "${line#*:}" | tr ' ' '\n' | tac) "${line%%:*}"; do
      grep -qx "${file##*/}" "$rd/order" && continue
      find "$modules" -name "${file##*/}" -exec cp {} "$rd/lib/modules/" \;
      echo "${file##*/}" >> "$rd/order"
    done
  done
}

prepare() {   # -> $home/{vmlinuz,modules/lib/modules/VERSION,initrd.gz}
  home=$cache/$kernel
  [ ! -e "$home/ok" ] || return 0
  rm -rf "$home"
  mkdir -p "$home/x" "$home/modules/lib/modules"
  case $kernel in
    5.10) unpack_here bullseye-security "$home/x" '^linux-image-5\.10\.0-[0-9]+-cloud-amd64$' ;;
    6.1) unpack_here bookworm-security "$home/x" '^linux-image-6\.1\.0-[0-9]+-cloud-amd64$' ;;
    6.12) unpack_here bookworm-backports "$home/x" '^linux-image-6\.12\.[0-9.]+\+deb12(\.[0-9]+)?-cloud-amd64$' ;;
    7.*) unpack_here sid "$home/x" '^linux-binary-7\.[0-9.]+\+deb14-cloud-amd64$' '^linux-modules-7\.[0-9.]+\+deb14-cloud-amd64$' ;;
    *) echo "vm.sh: unknown kernel $kernel; 5.10, 6.1, 6.12 or 7.2" >&2; exit 2 ;;
  esac
  local found rd=$home/rd
  found=$(find "$home/x" -maxdepth 5 -path '*lib/modules/*' -prune -type d | head -1)
  version=${found##*/}
  mv "$found" "$home/modules/lib/modules/"
  local modules=$home/modules/lib/modules/$version
  mv "$home"/x/boot/vmlinuz-* "$home/vmlinuz" 2>/dev/null || mv "$modules/vmlinuz" "$home/vmlinuz"
  find "$modules" -name '*.ko.xz' -exec xz -d {} +
  "$busybox" depmod -b "$home/modules" "$version"
  mkdir -p "$rd"/{bin,dev,proc,sys,host,rw,root,lib/modules}
  cp "$busybox" "$rd/bin/busybox"
  ln -s busybox "$rd/bin/sh"
  early "$rd" "$modules"
  write_init "$rd"
  (cd "$rd" && find . | cpio -o -H newc --quiet | gzip -1) > "$home/initrd.gz"
  rm -rf "$home/x" "$rd"
  touch "$home/ok"
}

write_init() {
  cat > "$1/init" <<-'I'
	#!/bin/sh
	b=/bin/busybox
	$b mount -t devtmpfs d /dev; $b mount -t proc p /proc
	for m in $($b cat /order); do $b insmod /lib/modules/$m || echo "insmod $m failed"; done
	$b mount -t virtiofs -o ro host /host || { echo "VM: no virtiofs"; echo o > /proc/sysrq-trigger; $b sleep 9; }
	$b mount -t tmpfs t /rw; $b mkdir -p /rw/u /rw/w
	$b mount -t overlay -o lowerdir=/host,upperdir=/rw/u,workdir=/rw/w o /root
	$b cp /guest /bin/busybox /root/; $b umount /proc; $b mount --move /dev /root/dev
	exec $b switch_root /root /busybox sh /guest
	I
  cat > "$1/guest" <<-'G'
	b=/busybox
	for d in "proc /proc" "sysfs /sys" "devpts /dev/pts" "tmpfs /dev/shm" "tmpfs /run"; do
	  set -- $d; $b mkdir -p $2; $b mount -t $1 $1 $2; done
	for d in "tracefs /sys/kernel/tracing" "debugfs /sys/kernel/debug" "bpf /sys/fs/bpf" "cgroup2 /sys/fs/cgroup"; do
	  set -- $d; $b mount -t $1 $1 $2; done
	v=$($b uname -r); $b mkdir -p /lib/modules/$v
	eval "$($b sed 's/.*vmrun=\([^ ]*\).*/\1/' /proc/cmdline | $b base64 -d)"
	$b mount --bind "$VM_MODULES/lib/modules/$v" /lib/modules/$v
	$b mkdir -p /busy; $b ln -s $b /busy/modprobe; echo /busy/modprobe > /proc/sys/kernel/modprobe
	$b ip link set lo up
	[ -z "$VM_OUT" ] || { $b mkdir -p "$VM_OUT"; $b mount -t virtiofs out "$VM_OUT"; }
	export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb VM=1 VM_OUT
	cd "$VM_CWD"; $b stty raw -echo < /dev/ttyS1
	$b setsid /bin/bash -c "$VM_COMMAND" < /dev/null > /dev/ttyS1 2>&1; echo "VM-RC $?" > /dev/ttyS0
	$b sync; echo o > /proc/sysrq-trigger; $b sleep 9
	G
  chmod +x "$1/init"
}

mkdir -p "$cache"
exec 9> "$cache/lock"   # two guests may be started at once
flock 9
tools
prepare
exec 9>&-
run=$(mktemp -d /tmp/vm.XXXXXX)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; umount -l "$run/ro" 2>/dev/null || true; rm -rf --one-file-system "$run"' EXIT
mkdir "$run/ro"
mount --bind / "$run/ro"
mount -o remount,bind,ro "$run/ro"
"$virtiofsd" --socket-path="$run/host" -o source="$run/ro",cache=always,sandbox=chroot,no_posix_lock,no_flock -f > "$run/log" 2>&1 &
pids+=($!)
arguments=()
if [ -n "${VM_OUT:-}" ]; then
  mkdir -p "$VM_OUT"
  "$virtiofsd" --socket-path="$run/out" -o source="$VM_OUT",cache=none -f > "$run/log2" 2>&1 &
  pids+=($!)
  arguments+=(-chardev socket,id=c1,path="$run/out" -device vhost-user-fs-pci,chardev=c1,tag=out)
fi
request=$(printf 'VM_CWD=%q VM_OUT=%q VM_MODULES=%q VM_COMMAND=%q' "$PWD" "${VM_OUT:-}" "$cache/$kernel/modules" "$*" | base64 -w0)
for _ in $(seq 50); do [ -S "$run/host" ] && break; sleep 0.05; done
memory=${VM_MEM:-1024}M
set +e
timeout --foreground "${VM_TIMEOUT:-120}" "$qemu" -M q35 -accel tcg,thread=multi -cpu max,la57=off -smp "${VM_SMP:-2}" \
  -m "$memory" -nodefaults -display none -no-reboot -nic none \
  -object memory-backend-memfd,id=mem,size="$memory",share=on -numa node,memdev=mem \
  -chardev socket,id=c0,path="$run/host" -device vhost-user-fs-pci,chardev=c0,tag=host "${arguments[@]}" \
  -device virtio-rng-pci -serial file:"$run/console" -serial stdio -kernel "$home/vmlinuz" -initrd "$home/initrd.gz" \
  -append "console=ttyS0 quiet panic=-1 mitigations=off vmrun=$request ${VM_APPEND:-}" < /dev/null
ended=$?
code=$(sed -n 's/^VM-RC \([0-9]*\).*/\1/p' "$run/console" | tail -1)
[ -z "${VM_LOG:-}" ] || cp "$run/console" "$VM_LOG"
[ "$ended" = 124 ] && code=124
if [ -z "$code" ]; then
  code=125
  tail -40 "$run/console" >&2
  tail -5 "$run/log" >&2
fi
exit "$code"
