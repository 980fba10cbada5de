# SPDX-License-Identifier: BSD-3-Clause
# Shared by the analyses: sourced with `set -euo pipefail` and their two arguments, source and build.

if [ $# != 2 ]; then
	echo "usage: ${0##*/} SOURCE-DIR BUILD-DIR" >&2
	exit 2
fi
source_dir=$1
build_dir=$2
here=$source_dir/tests/analysis

skip() {
	echo "SKIP: $*"
	exit 77
}

# need COMMAND...: exits 77 where one of them is not installed.
need() {
	local command
	for command in "$@"; do
		command -v "$command" >/dev/null || skip "no $command here (tools/packages)"
	done
}

# configure DIR cmake-option...: the tree once more, below the build directory.
configure() {
	local dir=$1
	shift
	cmake -G Ninja -S "$source_dir" -B "$dir" "$@" >/dev/null
}
