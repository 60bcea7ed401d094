# SPDX-License-Identifier: Apache-2.0
# What an administrator does before a boot, in a guest whose systemd does not run yet. ROOT is the repository.
cd "$ROOT"
# The image leaves out what nobody reads there.
dpkg --path-include='/usr/share/man/man8/bpflock*' -i "$(ls -t dist/bpflock_*.deb | head -1)"
mkdir -p /etc/bpflock
echo 'level: baseline' >/etc/bpflock/bpflock.yaml
# An ordinary service that attacks as soon as it may start, from namespaces of its own.
cat >/etc/systemd/system/attack-at-boot.service <<-END
	[Service]
	Type=oneshot
	ExecStart=/bin/sh -c 'unshare -f -p -n $ROOT/build/attack kcore >/run/attack-at-boot 2>&1; echo \$\$? >>/run/attack-at-boot'
	[Install]
	WantedBy=multi-user.target
END
systemctl enable bpflock-early bpflock attack-at-boot
