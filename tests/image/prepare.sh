# SPDX-License-Identifier: Apache-2.0
# What an administrator does before a boot, in a guest whose systemd does not run yet. ROOT is the repository.
cd "$ROOT"
pip install -q --no-index --find-links dist --find-links build/image-wheels \
	--break-system-packages --root-user-action=ignore bpflock
cp deploy/systemd/*.service /etc/systemd/system/
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
