# SPDX-License-Identifier: BSD-3-Clause
# Shared by tools/test and tools/demo: packages, hugepages, builds. Sourced, with `set -euo pipefail`.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=/usr/bin/python3 # Debian's: the one that its python3-* packages are for
build_root=${RDBEAM_BUILD_ROOT:-$repo/build}

say() {
	printf '== %s\n' "$*"
}

die() {
	printf 'tools/%s: %s\n' "${0##*/}" "$*" >&2
	exit 1
}

# missing_packages KIND...: those of tools/packages that are for one of the kinds and not installed.
missing_packages() {
	local kind package
	grep -v '^#' "$repo/tools/packages" | while read -r kind package; do
		[[ " $* " == *" $kind "* ]] || continue
		if [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" != installed ]; then
			echo "$package"
		fi
	done
}

# install_packages KIND...: installs what tools/packages names for them and the machine lacks. The redis-server package would start a
# server on port 6379 and at every boot: nobody asked for one, so it is kept from doing both.
install_packages() {
	local -a missing
	local policy=/usr/sbin/policy-rc.d ours=no status=0
	command -v dpkg-query >/dev/null || die "needs Debian or Ubuntu: dpkg is not here; install" \
		"by hand what tools/packages lists and build with cmake"
	mapfile -t missing < <(missing_packages "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "packages are missing (${missing[*]}): run it with sudo once"
	say "installing ${missing[*]}"
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		ours=yes
	fi
	{ apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y \
		--no-install-recommends "${missing[@]}"; } </dev/null || status=$?
	if [ $ours = yes ]; then
		rm -f $policy
	fi
	[ $status = 0 ] || die "apt-get failed with $status for: ${missing[*]}"
	if [[ " ${missing[*]} " == *" redis-server "* ]] && command -v systemctl >/dev/null; then
		systemctl -q disable redis-server 2>/dev/null || true
	fi
}

hugepages_before=

# Asks for `$1` free hugepages of 2 MiB and says what came of it; release_hugepages undoes it.
take_hugepages() {
	local want=$1 knob=/proc/sys/vm/nr_hugepages free have
	free=$(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo)
	if [ "${free:-0}" -lt "$want" ] && [ -w $knob ]; then
		have=$(cat $knob)
		hugepages_before=$have
		echo $((have + want - free)) 2>/dev/null >$knob || true
		free=$(awk '/^HugePages_Free/ { print $2 }' /proc/meminfo)
	fi
	if [ "${free:-0}" -ge "$want" ]; then
		say "hugepages: $free of 2 MiB free"
	elif [ "${free:-0}" -gt 0 ]; then
		say "hugepages: $free of the $want wanted; the rest of the table takes THP or 4 KiB pages"
	else
		say "hugepages: none here; the table takes THP or 4 KiB pages"
	fi
}

release_hugepages() {
	if [ -n "$hugepages_before" ]; then
		echo "$hugepages_before" 2>/dev/null >/proc/sys/vm/nr_hugepages || true
		hugepages_before=
	fi
}

# build_in DIR cmake-option...: configures and builds all, quiet unless it fails.
build_in() {
	build_targets all "$@"
}

# build_targets "TARGET..." DIR cmake-option...: as build_in, of some targets only.
build_targets() {
	local -a targets
	local dir=$2 log
	read -ra targets <<<"$1"
	shift 2
	mkdir -p "$dir" 2>/dev/null && [ -w "$dir" ] || die "cannot write in $dir (it may be root's, of" \
		"an earlier run with sudo): run with sudo, or set RDBEAM_BUILD_ROOT to another directory"
	log=$dir/tools.log
	if ! { cmake -S "$repo" -B "$dir" -G Ninja "$@" &&
		cmake --build "$dir" --target "${targets[@]}"; } >"$log" 2>&1 </dev/null; then
		tail -n 60 "$log" >&2
		die "the build in $dir failed; all of its output is in $log"
	fi
}
