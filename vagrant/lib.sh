# shellcheck shell=bash
# What connect and the exercises share: how a command gets onto a machine, and how to wait for something.
#
# DRSYNC_ON may name another program that is called as `$DRSYNC_ON MACHINE COMMAND` (a shell line, run as root);
# the tests run the exercises in containers that way.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Read by those who source this.
# shellcheck disable=SC2034
machines=(coordinator production same-city remote)
group=orders
socket=/run/drsync/agent/nbd/$group.sock

say() { printf '== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

on() {
  local machine=$1
  shift
  if [ -n "${DRSYNC_ON:-}" ]; then
    "$DRSYNC_ON" "$machine" "$*" </dev/null
  else
    (cd "$here" && vagrant ssh "$machine" -- -T sudo sh -c "$(printf '%q' "$*")" </dev/null)
  fi
}

# The same with standard input and output as they are, for what is piped through.
pipe() {
  if [ -n "${DRSYNC_ON:-}" ]; then
    "$DRSYNC_ON" "$1" "$2"
  else
    (cd "$here" && vagrant ssh "$1" -- -T sudo sh -c "$(printf '%q' "$2")")
  fi
}

drsync() { on coordinator "drsync $*"; }

# Seconds until a command succeeds; fails after the given time.
wait_for() {
  local what=$1 seconds=$2 began=$SECONDS
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $((SECONDS - began)) -lt "$seconds" ] || fail "not within $seconds s: $what"
    sleep 0.3
  done
  say "$what (after $((SECONDS - began)) s)"
}

# The machine of a center: same_city lives on same-city.
machine_of() { printf '%s' "${1//_/-}"; }

field() { # the value of a key of the group, by Python, because jq may not be there
  drsync status --json | python3 -c '
import json, sys
group = json.load(sys.stdin)["groups"][sys.argv[1]]
value = group[sys.argv[2]]
print(" ".join(sorted(value)) if isinstance(value, list) else value)' "$group" "$1"
}

all_connected() {
  drsync status --json | python3 -c '
import json, sys
sys.exit(not all(center["connected"] for center in json.load(sys.stdin)["centers"].values()))'
}

owner() { field owner; }
is_owner() { [ "$(owner)" = "$1" ] && on "$(machine_of "$1")" "test -S $socket"; }
is_in_sync() { [ "$(field in_sync)" = "$*" ]; }

# One block at the start of the volume, by whoever owns it.
write() { on "$(machine_of "$1")" "printf '%-4096s' '$2' > /tmp/block && nbdcopy --flush /tmp/block 'nbd+unix:///data?socket=$socket'"; }
read_back() { on "$(machine_of "$1")" "nbdcopy 'nbd+unix:///data?socket=$socket' /tmp/disk && head -c 4096 /tmp/disk | sed 's/ *\$//'; rm -f /tmp/disk"; }

require() { # what is read at the owner
  local found
  found=$(read_back "$1")
  [ "$found" = "$2" ] || fail "$1 reads '$found' instead of '$2'"
  say "$1 reads what was acknowledged: $2"
}

settled() { wait_for "production owns $group and same_city is in sync" 90 is_in_sync production same_city; }

# The address of a machine, as its own profile says it.
address_of() { on "$1" "sed -n 's/^listen = \"\(.*\):730[01]\"/\1/p' /etc/drsync/*.toml | head -n 1"; }

# Cut a machine off from the others, or mend that: packets of drsync's ports are dropped on both ways, ssh goes on.
# DRSYNC_UNPLUG may name a program that does it from outside, called as `$DRSYNC_UNPLUG MACHINE on|off`.
unplug() {
  if [ -n "${DRSYNC_UNPLUG:-}" ]; then
    "$DRSYNC_UNPLUG" "$1" "$2"
    return
  fi
  on "$1" "nft delete table inet drsync_cut 2>/dev/null || true"
  if [ "$2" = on ]; then
    on "$1" "nft -f - <<'RULES'
table inet drsync_cut {
  chain in { type filter hook input priority -10; tcp dport { 7300, 7301 } drop; tcp sport { 7300, 7301 } drop; }
  chain out { type filter hook output priority -10; tcp dport { 7300, 7301 } drop; tcp sport { 7300, 7301 } drop; }
}
RULES"
  fi
}
