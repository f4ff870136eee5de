#!/usr/bin/env bash
# Installs the system packages that are missing: tools/setup.sh run|test|sanitized
# Looks for commands and headers rather than for package names, so that a machine which has them from elsewhere
# is left alone. With root, or sudo without a password, apt does the work; else the exact line to type is printed.
set -euo pipefail
purpose=${1:?usage: tools/setup.sh run|test|sanitized}
python=${PYTHON:-python3}
packages=()
optional=()

need() { # need PACKAGE command...: PACKAGE is missing when the command fails
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}
want() { # the same, for what only makes tests skip
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || optional+=("$package")
}
# Debian's Go may be older than the module of the tests needs: then nothing is installed, and they are skipped.
go_has() { [[ $(printf '%s\n' "$go_needed" "$1" | sort -V | head -n 1) == "$go_needed" ]]; }
header() { printf '#include <%s>\n' "$1" | g++ -x c++ -E -; }
python_header() { test -f "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"; }

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  if [[ $python != python3 ]] || command -v python3 >/dev/null; then
    echo "$python is missing or older than Python 3.11: name a newer one, as in 'make PYTHON=python3.12 …'" >&2
    exit 1
  fi
  packages+=(python3 python3-venv python3-dev)
else
  need python3-venv "$python" -c 'import ensurepip, venv'
  need python3-dev python_header
fi
need g++ command -v g++
need cmake command -v cmake
need ninja-build command -v ninja
need ccache command -v ccache
need libssl-dev header openssl/ssl.h
need libsqlite3-dev header sqlite3.h
if [[ $purpose != run ]]; then
  need libgtest-dev header gtest/gtest.h
  want liblua5.1-0-dev header lua5.1/lua.hpp
  want curl command -v curl
  want iproute2 command -v ip
  want redis-server command -v redis-server
  want redis-sentinel command -v redis-sentinel
  want redis-tools command -v redis-cli
  want nginx test -x /usr/sbin/nginx -o -x /usr/local/sbin/nginx
  want haproxy test -x /usr/sbin/haproxy -o -x /usr/local/sbin/haproxy
  want openssl command -v openssl
  want prometheus command -v promtool
  want chromium command -v chromium
  want chromium-driver command -v chromedriver
  command -v npm >/dev/null || optional+=(nodejs npm)
  go_needed=$(sed -n 's/^go //p' "$(dirname "$0")/../tests/clients/centrifuge_go/go.mod")
  if ! go_has "$(go env GOVERSION 2>/dev/null | sed 's/^go//')"; then
    offered=$(apt-cache policy golang-go 2>/dev/null | sed -n 's/ *Candidate: \([0-9]*:\)\?\([0-9.]*\).*/\2/p' || true)
    ! go_has "$offered" || optional+=(golang-go)
  fi
fi
if [[ $purpose == sanitized ]]; then
  want valgrind command -v valgrind
  want strace command -v strace
  need clang-16 command -v clang++-16
  need libclang-rt-16-dev test -e /usr/lib/llvm-16/lib/clang/16/lib/linux/libclang_rt.fuzzer-x86_64.a -o \
    -e /usr/lib/llvm-16/lib/clang/16/lib/linux/libclang_rt.fuzzer-aarch64.a
fi

if [[ ${#packages[@]} -eq 0 && ${#optional[@]} -eq 0 ]]; then
  exit 0
fi

# Tests start servers of their own: those of the packages shall not run, neither now nor after the next boot.
policy=/usr/sbin/policy-rc.d
services=(redis-server redis-sentinel nginx haproxy prometheus)
held=()
has_policy=
hold_services() {
  local service
  for service in "${services[@]}"; do
    [[ " $* " != *" $service "* ]] || held+=("$service")
  done
  [[ ${#held[@]} -gt 0 && ! -e $policy ]] || return 0  # an image of a container has one already
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
  has_policy=1
}
release_services() {
  [[ -z $has_policy ]] || "${as_root[@]}" rm -f "$policy"
  has_policy=
  local service
  for service in "${held[@]}"; do
    "${as_root[@]}" systemctl disable "$service" >/dev/null 2>&1 || true
  done
  held=()
}

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  as_root=(sudo)
fi
typed() { echo "sudo apt-get install -y --no-install-recommends $*"; }
install() {
  echo "      installing: $*"
  hold_services "$@"
  if ! "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
    -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "apt could not install all of that; the line was: $(typed "$@")" >&2
    release_services
    return 1
  fi
  release_services
}

if command -v apt-get >/dev/null && { [[ $(id -u) -eq 0 ]] || sudo -n true 2>/dev/null; }; then
  log=$(mktemp)
  trap 'rm -f "$log"; release_services' EXIT
  # A package list that cannot be refreshed is no error yet: the install tells.
  "${as_root[@]}" apt-get update -qq >"$log" 2>&1 || true
  if [[ ${#packages[@]} -gt 0 ]]; then
    install "${packages[@]}"
  fi
  if [[ ${#optional[@]} -gt 0 ]]; then
    install "${optional[@]}" || [[ ${CI:-} != true ]]
  fi
elif [[ ${#packages[@]} -gt 0 ]]; then
  echo "System packages are missing, and this user may not install them. Type this, then call make again:" >&2
  echo "  sudo apt-get update && $(typed "${packages[@]}" "${optional[@]}")" >&2
  echo "(Where there is no apt, install what is named so there.)" >&2
  exit 1
else
  echo "      missing, so that some tests are skipped: ${optional[*]} ($(typed "${optional[@]}"))"
fi
