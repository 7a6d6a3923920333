#!/bin/sh
# Install what some tests need beside Python, where that is possible: as root on Debian.
# Prints the marks of the tests to leave out, and says why on standard error; in CI leaving out is an error.
if ! command -v chromium >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1
    fi
fi
if ! command -v chromium >/dev/null 2>&1; then
    echo "left out: tests in a browser, for there is no chromium (install it, or run as root on Debian)" >&2
    [ "${CI:-}" = true ] && exit 1
    echo browser
fi
exit 0
