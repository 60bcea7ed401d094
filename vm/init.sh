#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First program in the guest, in its initramfs: mount the host's root read-only, cover what has to
# be writable, and move there. vm/guest.py writes the settings that are sourced here.
/bin/busybox mkdir -p /proc /sys /dev /host /new /upper
/bin/busybox --install -s /bin
export PATH=/bin
mount -t devtmpfs dev /dev
exec </dev/null >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
. /vm/settings

fail() {
	echo "bpflock-vm: $*"
	poweroff -f
}

while read -r module; do
	insmod "/modules/$module" || fail "cannot load $module"
done </modules/order

p9=version=9p2000.L,trans=virtio,access=any,msize=524288
mount -t 9p -o "$p9,cache=loose,ro" hostroot /host || fail "cannot mount the host's root"
# /host stays as it is; things get mounted over /new. So what lies under a covered directory can
# still be bound back.
mount --bind /host /new
mount -t tmpfs -o mode=0755 upper /upper

overlay() {
	# QEMU runs as an ordinary user and may not look into /root.
	if ! ls "/host/$1" >/dev/null 2>&1; then
		mount -t tmpfs -o mode=0700 "$1" "/new/$1" || fail "cannot cover /$1"
		return
	fi
	mkdir -p "/upper/$1/upper" "/upper/$1/work"
	chmod "$(stat -c %a "/host/$1")" "/upper/$1/upper"
	mount -t overlay -o "lowerdir=/host/$1,upperdir=/upper/$1/upper,workdir=/upper/$1/work" \
		overlay "/new/$1" || fail "cannot mount an overlay on /$1"
}

mount -t devtmpfs dev /new/dev
mkdir -p /new/dev/pts /new/dev/shm /new/dev/mqueue
mount -t devpts -o mode=0620,ptmxmode=0666,gid=5 devpts /new/dev/pts
mount -t tmpfs -o mode=1777 shm /new/dev/shm
mount -t mqueue mqueue /new/dev/mqueue
ln -sf /proc/self/fd /new/dev/fd
ln -sf /proc/self/fd/0 /new/dev/stdin
ln -sf /proc/self/fd/1 /new/dev/stdout
ln -sf /proc/self/fd/2 /new/dev/stderr
mount -t proc proc /new/proc
mount -t sysfs sys /new/sys
mount -t securityfs securityfs /new/sys/kernel/security
mount -t debugfs debugfs /new/sys/kernel/debug
mount -t tracefs tracefs /new/sys/kernel/tracing
mount -t bpf -o mode=0700 bpf /new/sys/fs/bpf
mount -t cgroup2 -o nsdelegate cgroup2 /new/sys/fs/cgroup

mount -t tmpfs -o mode=0755 run /new/run
mount -t tmpfs -o mode=1777 tmp /new/tmp
mount -t tmpfs -o mode=0755 mnt /new/mnt
for directory in etc var root home; do
	[ ! -d "/host/$directory" ] || overlay "$directory"
done
# A root without this directory (a small container) gets one in an overlay.
[ -d /new/lib/modules ] || overlay "$(readlink /host/lib || echo lib)"
[ -d /new/lib/modules ] || mkdir /new/lib/modules
mount -t tmpfs -o mode=0755 modules /new/lib/modules
mkdir "/new/lib/modules/$RELEASE"
mount --bind "/host$MODULES" "/new/lib/modules/$RELEASE" || fail "cannot bind $MODULES"
[ ! -d /new/boot ] || mount --bind "/host$BOOT" /new/boot

while read -r path; do
	mkdir -p "/new$path"
	mount --bind "/host$path" "/new$path" || fail "cannot bind $path"
	# Home directories keep others out, and tests run bpflock as an ordinary user.
	above=$(dirname "$path")
	while [ "$above" != / ]; do
		chmod a+x "/new$above" || fail "cannot let others into $above"
		above=$(dirname "$above")
	done
done </vm/visible
if [ -n "$SHARE" ]; then
	mkdir -p "/new$SHARE"
	# No cache: what the command has written is on the host when the command ends.
	mount -t 9p -o "$p9,cache=none" share "/new$SHARE" || fail "cannot mount the shared directory"
fi
umount -l /host
umount -l /upper

hostname bpflock-vm
ip link set lo up
mkdir -p /new/run/bpflock-vm
cp /bin/busybox /vm/main /vm/token /vm/command /new/run/bpflock-vm/
# A real change of root, not a chroot: paths end at the root of the mount namespace, and
# pivot_root works, as on any machine.
umount /sys
umount /proc
umount -l /dev
exec switch_root /new /run/bpflock-vm/busybox sh /run/bpflock-vm/main
