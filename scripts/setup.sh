#!/usr/bin/env bash
# Installs what the build (or the tests) need and checks the Rust version. `setup.sh build|test`.
set -euo pipefail
what=${1:-build}
least=1.95

say() { printf '%s\n' "$*" >&2; }

if ! command -v cargo >/dev/null; then
  say "tidegate needs Rust $least or later: see https://rustup.rs"
  exit 1
fi
have=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
if [ "$(printf '%s\n%s\n' "$least" "$have" | sort -V | head -1)" != "$least" ]; then
  say "tidegate needs Rust $least or later; this is $have"
  exit 1
fi

missing=()
need() { # command-or-file, package
  case $1 in
    /*) compgen -G "$1" >/dev/null || missing+=("$2") ;;
    *) command -v "$1" >/dev/null || missing+=("$2") ;;
  esac
}
need c++ g++
need make make
need curl curl
need ccache ccache
# Not libclang-cpp, which other packages bring.
need '/usr/lib/llvm-*/lib/libclang[-.][0-9s]*' libclang-dev
if [ "$what" = build ]; then
  need etcdctl etcd-client
fi
if [ "$what" = test ]; then
  need wrk wrk
  need nginx nginx-light
  need strace strace
fi
if [ ${#missing[@]} -gt 0 ]; then
  root=""
  [ "$(id -u)" = 0 ] || root=sudo
  if ! command -v apt-get >/dev/null || { [ -n "$root" ] && ! command -v sudo >/dev/null; }; then
    say "please install: ${missing[*]}"
    exit 1
  fi
  say "installing ${missing[*]}"
  # A package that brings a server must not start it.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $root tee $policy >/dev/null
    $root chmod +x $policy
    trap '$root rm -f $policy' EXIT
  fi
  $root apt-get update -qq >&2
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
fi
if [ "$what" = test ] && ! command -v go >/dev/null; then
  say "the tests compare with a real etcd, which they build with Go 1.26 or later: please install Go"
  exit 1
fi
