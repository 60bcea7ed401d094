#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# modules.sh KVER DIR OUTDIR: modules for the attacks on module loading.
#
# DIR is the root of a tree with lib/modules/KVER (or usr/lib/modules/KVER), or that directory itself. Copies of the
# module "dummy", which needs no other, go to OUTDIR:
#   signed.ko, signed.ko.xz     as the distribution signed it (the .xz only if the distribution has it compressed)
#   unsigned.ko                 without its signature
# Prints their paths.
set -eu

version=$1 directory=$2 output=$3
for modules in "$directory" "$directory/lib/modules/$version" "$directory/usr/lib/modules/$version"; do
	if [ -d "$modules/kernel" ]; then break; fi
done
[ -d "$modules/kernel" ] || { echo "no modules of $version in $directory" >&2; exit 1; }

mkdir -p "$output"
rm -f "$output"/signed.ko* "$output/unsigned.ko"
for module in "$modules"/kernel/drivers/net/dummy.ko*; do
	case $module in
	*.xz) cp "$module" "$output/signed.ko.xz"; xz -dc "$module" >"$output/signed.ko" ;;
	*.zst) cp "$module" "$output/signed.ko.zst"; zstd -qdc "$module" >"$output/signed.ko" ;;
	*.gz) cp "$module" "$output/signed.ko.gz"; gzip -dc "$module" >"$output/signed.ko" ;;
	*.ko) cp "$module" "$output/signed.ko" ;;
	*) echo "$modules has no dummy.ko" >&2; exit 1 ;;
	esac
done
# strip writes only the sections: what follows them, the signature, is gone.
strip --strip-debug -o "$output/unsigned.ko" "$output/signed.ko"
printf '%s\n' "$output"/signed.ko* "$output/unsigned.ko"
