#!/usr/bin/env bash
# Installs what building, running and testing Soleil needs and is not here yet.
#
#   scripts/setup.sh build    what compiling needs
#   scripts/setup.sh demo     and what `make demo` needs
#   scripts/setup.sh test     and what `make test` needs
#
# Debian and Ubuntu: installs with apt-get (with sudo where you are not root) and says what.
# Elsewhere: names what is missing and stops. Rust, Node.js (20 or newer) and a C compiler are
# expected to be there; Python 3 is welcome.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-build}
case "$purpose" in build|demo|test) ;; *) echo "usage: scripts/setup.sh build|demo|test" >&2; exit 64 ;; esac

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

for tool in cargo rustc; do
  command -v "$tool" >/dev/null || die "$tool is missing: install Rust 1.95 or newer (https://rustup.rs)"
done
command -v cc >/dev/null || die "a C compiler (cc) is missing"
command -v node >/dev/null || die "Node.js is missing: install version 20 or newer"
command -v npm >/dev/null || die "npm is missing: it comes with Node.js"
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || die "Node.js 20 or newer is needed, this is $(node --version)"

# Whether this Python can make an environment of its own with pip in it.
has_venv() { python3 -c 'import ensurepip, venv' 2>/dev/null; }

# Debian package, then the purpose from which on it is needed.
packages() {
  # `root-node` (for sources) and `tests/` link GStreamer, so building the workspace needs its headers.
  echo pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev
  [ "$purpose" = build ] && return
  echo gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good \
    gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav fonts-dejavu-core
  [ "$purpose" = demo ] && return
  echo chromium firefox-esr
  # Somebody else's senders; Debian's Python makes environments only with this package.
  echo ffmpeg
  has_venv || echo python3-venv
  # Hosts, NAT and filters of tests/tests/netns.rs.
  echo iproute2 nftables conntrack
}

missing=()
if command -v dpkg-query >/dev/null; then
  for package in $(packages); do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing+=("$package")
  done
  if [ "${#missing[@]}" -gt 0 ]; then
    say "installing ${missing[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
      command -v sudo >/dev/null || die "not root and no sudo: install them yourself and call again"
      as_root=(sudo)
    fi
    export DEBIAN_FRONTEND=noninteractive
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
else
  pkg-config --exists gstreamer-1.0 gstreamer-app-1.0 gstreamer-video-1.0 2>/dev/null \
    || missing+=("GStreamer 1.22 or newer with its development files")
  if [ "$purpose" != build ]; then
    for element in x264enc rtph264pay opusenc rtpbin textoverlay srtsrc rtspsrc avdec_aac; do
      gst-inspect-1.0 --exists "$element" 2>/dev/null || missing+=("the GStreamer element $element")
    done
  fi
  if [ "$purpose" = test ]; then
    command -v chromium >/dev/null || missing+=("Chromium as 'chromium'")
    command -v firefox-esr >/dev/null || missing+=("Firefox as 'firefox-esr'")
    command -v ffmpeg >/dev/null || missing+=("FFmpeg as 'ffmpeg'")
    for tool in ip nft conntrack; do
      PATH=$PATH:/usr/sbin command -v "$tool" >/dev/null || missing+=("the program $tool")
    done
  fi
  [ "${#missing[@]}" -eq 0 ] || die "this is not Debian or Ubuntu; please install: $(printf '%s; ' "${missing[@]}")"
fi

# npm packages, again only when the lock file changed since the last time.
npm_packages() {
  local stamp="$1/node_modules/.soleil-lock"
  if ! cmp -s "$1/package-lock.json" "$stamp"; then
    say "installing the npm packages of $1"
    (cd "$1" && npm ci --no-audit --no-fund --loglevel=error)
    cp "$1/package-lock.json" "$stamp"
  fi
}

# Python packages into an environment of their own, again only when their list changed since the last
# time. Without Python the test of the sender that needs them says that it was skipped.
python_packages() {
  local list=$1/requirements.txt home=${CARGO_TARGET_DIR:-target}/python
  if ! has_venv; then
    say "SKIPPED the Python packages of $1: there is no python3 with venv and pip"
    return
  fi
  if ! { cmp -s "$list" "$home/.soleil-list" && "$home/bin/python" -c '' 2>/dev/null; }; then
    say "installing the Python packages of $1"
    rm -rf "$home"
    if python3 -m venv "$home" &&
      "$home/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"; then
      cp "$list" "$home/.soleil-list"
    else
      # Its test is left out, and says so.
      say "SKIPPED the Python packages of $1: they can't be had for this Python"
      rm -rf "$home" && mkdir -p "$home" && touch "$home/unavailable"
    fi
  fi
}

npm_packages web
if [ "$purpose" = test ]; then
  npm_packages tests/browser
  python_packages tests/python
fi
