#!/bin/sh
# Install what some tests need beside Python, where that is possible: as root on Debian.
# Prints the marks of the tests to leave out, joined by `or`, and says why on standard error; in CI leaving out the browser is an error.
# With the argument `slurm`: what the tests on SLURM need, or an error.
root=$([ "$(id -u)" = 0 ] && echo yes)
install() {
    [ "$root" ] && command -v apt-get >/dev/null 2>&1 || return
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}
if [ "${1:-}" = slurm ]; then
    PATH="$PATH:/usr/sbin"
    command -v slurmctld >/dev/null 2>&1 && command -v munged >/dev/null 2>&1 || install slurm-wlm munge >&2
    [ "$root" ] && command -v slurmctld >/dev/null 2>&1 && command -v munged >/dev/null 2>&1 && exit
    echo "tests on SLURM need slurm-wlm and munge (Debian's names), and root, who alone can start their daemons" >&2
    exit 1
fi
left_out=
leave_out() {
    echo "left out: $2" >&2
    left_out="${left_out:+$left_out or }$1"
}

command -v chromium >/dev/null 2>&1 || install chromium >/dev/null 2>&1
command -v chromium >/dev/null 2>&1 || leave_out browser "tests in a browser, for there is no chromium (install it, or run as root on Debian)"

disk=$(mktemp -d)
if mount -t tmpfs -o size=64k tmpfs "$disk" 2>/dev/null; then umount "$disk"; else leave_out mount "tests of a full disk, for mounting a small one is not allowed here"; fi
rmdir "$disk"

! command -v chromium >/dev/null 2>&1 && [ "${CI:-}" = true ] && exit 1
echo "$left_out"
