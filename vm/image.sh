#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# First program in a guest with a disk (vm/image.py), in its initramfs: mount the disk, let the job prepare it, and start
# its systemd, which runs the command as a service. vm/guest.py writes the settings that are sourced here.
/bin/busybox mkdir -p /proc /sys /dev /host /new
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

mount -t ext4 /dev/vda /new || fail "cannot mount the disk"
p9=version=9p2000.L,trans=virtio,access=any,msize=524288
mount -t 9p -o "$p9,cache=loose,ro" hostroot /host || fail "cannot mount the host's root"
mkdir -p "/new/lib/modules/$RELEASE"
mount --bind "/host$MODULES" "/new/lib/modules/$RELEASE" || fail "cannot bind $MODULES"
while read -r path; do
	mkdir -p "/new$path"
	mount --bind "/host$path" "/new$path" || fail "cannot bind $path"
done </vm/visible
if [ -n "$SHARE" ]; then
	mkdir -p "/new$SHARE"
	mount -t 9p -o "$p9,cache=none" share "/new$SHARE" || fail "cannot mount the shared directory"
fi
umount -l /host

mount -t tmpfs -o mode=0755 run /new/run
mkdir -p /new/run/bpflock-vm /new/run/systemd/system/multi-user.target.wants
cp /bin/busybox /vm/main /vm/token /vm/command /vm/prepare /new/run/bpflock-vm/
cp /vm/service /new/run/systemd/system/bpflock-vm.service
ln -s ../bpflock-vm.service /new/run/systemd/system/multi-user.target.wants/

mount --bind /dev /new/dev
mount --bind /proc /new/proc
chroot /new /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin /bin/sh -e /run/bpflock-vm/prepare ||
	fail "the disk could not be prepared"
umount /new/dev
umount /new/proc
exec switch_root /new /sbin/init
