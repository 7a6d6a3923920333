#!/bin/sh
# Install what some tests need beside Python, where that is possible: as root on Debian.
# Prints the marks of the tests to leave out, joined by `or`, and says why on standard error; in CI leaving out is an error, but for the small disk.
PATH="$PATH:/usr/sbin"
has() {
    for name; do command -v "$name" >/dev/null 2>&1 || return 1; done
}
left_out=
leave_out() {
    echo "left out: $2" >&2
    left_out="${left_out:+$left_out or }$1"
}

has chromium || missing=chromium
has slurmctld slurmd munged || missing="$missing slurm-wlm munge"
if [ "$missing" ] && [ "$(id -u)" = 0 ] && has apt-get; then
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >/dev/null 2>&1
fi
has chromium || leave_out browser "tests in a browser, for there is no chromium (install it, or run as root on Debian)"
if ! has slurmctld slurmd munged || [ "$(id -u)" != 0 ]; then
    leave_out slurm "the test on SLURM, which needs slurm-wlm, munge, and root, who alone can start their daemons"
fi
has .venv/bin/bids-validator-deno || .venv/bin/pip install --quiet bids-validator-deno==3.0.2 >/dev/null 2>&1
has .venv/bin/bids-validator-deno || leave_out bids "tests by the official BIDS validator, for bids-validator-deno could not be installed"
disk=$(mktemp -d)
if mount -t tmpfs -o size=64k tmpfs "$disk" 2>/dev/null; then
    umount "$disk"
else
    leave_out mount "tests of a full disk, for mounting a small one is not allowed here"
fi
rmdir "$disk"

[ "$left_out" ] && [ "$left_out" != mount ] && [ "${CI:-}" = true ] && exit 1
echo "$left_out"
