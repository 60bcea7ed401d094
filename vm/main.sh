# SPDX-License-Identifier: Apache-2.0
# Process 1 in the guest, after init.sh: run the command, send its output to the host through two
# virtio ports, say how it ended. The form of our own lines is read by vm/guest.py.
cd /run/bpflock-vm || exit
b=/run/bpflock-vm/busybox
until [ -c /dev/vport0p1 ] && [ -c /dev/vport0p2 ]; do $b sleep 0.05; done
# Open for good: a port has room for one.
exec </dev/null 3>/dev/vport0p1 4>/dev/vport0p2 >/dev/console 2>&1

read -r token <token
say() {
	printf '\000%s %s\n' "$token" "$*"
}

# Pipes in between, since a port cannot be opened again as /dev/stdout.
$b mkfifo stdout stderr
$b cat stdout >&3 &
out=$!
$b cat stderr >&4 &
err=$!
ulimit -l unlimited
say start >&3
$b sh ./command >stdout 2>stderr 3>&- 4>&-
status=$?
# The pipes end with the command, unless it left something behind that holds them.
($b sleep 2 && kill $out $err) 3>&- 4>&- &
wait $out $err
$b sync
say end >&4
say end $status >&3
# The host stops the machine when it has read both lines.
$b sleep 10
$b poweroff -f
