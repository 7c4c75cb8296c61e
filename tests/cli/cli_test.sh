#!/usr/bin/env bash
# The program `infertrail` from outside: cli_test.sh DIR-OF-PROGRAMS. Needs no root and no daemon; with
# IT_CLI_SOCKET set, the daemon that answers there is asked too. Prints "N passed, N failed".
set -u -o pipefail
bin=${1:?usage: cli_test.sh DIR-OF-PROGRAMS}
it=$bin/infertrail
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
unset NO_COLOR
export TZ=UTC LC_ALL=C.UTF-8
passed=0 failed=0

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); echo "FAIL: $*"; }

# run CODE NAME ARGUMENTS...: runs the program, keeps stdout and stderr, compares the exit code.
run() {
  local want=$1 name=$2 got
  shift 2
  "$it" "$@" >"$work/out" 2>"$work/err" </dev/null
  got=$?
  if [[ $got == "$want" ]]; then pass; else fail "$name: exit code $got instead of $want"; cat "$work/err"; fi
}
says() { if grep -qF -- "$2" "$work/$1"; then pass; else fail "$1 does not say: $2"; cat "$work/$1"; fi; }
says_not() { if grep -qF -- "$2" "$work/$1"; then fail "$1 says: $2"; else pass; fi; }
# is NAME WANTED GOT
is() { if [[ $2 == "$3" ]]; then pass; else fail "$1: '$3' instead of '$2'"; fi; }
# No control character but the line end, no tab.
clean() {
  if LC_ALL=C grep -qP '[\x00-\x09\x0b-\x1f\x7f]' "$work/$1"; then fail "$2: raw control characters"; else pass; fi
}

t=$work/trail
"$bin/cli_trail" "$t" || { echo "cannot write a trail"; echo "0 passed, 1 failed"; exit 1; }

# --- log ---------------------------------------------------------------------------------------
run 0 "log" log --trail "$t"
clean out "log"
is "rows of log" 5 "$(wc -l <"$work/out")"
says out '\x1b[31mred\x1b]0;owned\x07'
says out '模型'
says out 'email:2'
is "the incomplete call is marked" 1 "$(grep -c ' !  127.0.0.1' "$work/out")"
is "columns align although a text is wide" "$(grep -F ' qwen ' "$work/out" | grep -ob ' chat ' | cut -d: -f1)" \
   "$(( $(grep -F '模型' "$work/out" | grep -ob ' chat ' | cut -d: -f1) - 2 ))"
run 0 "log filters" log --trail "$t" --model qwen --status 200
is "one record matches" 2 "$(wc -l <"$work/out")"
run 0 "log --grep" log --trail "$t" --grep 'CAPITAL OF france' --json
is "grep finds one" 1 "$(wc -l <"$work/out")"
run 0 "log times" log --trail "$t" --since 2026-01-01T00:01:00Z --until 2026-01-01T00:02:00Z --json
is "since is inside, until is not" 1 "$(wc -l <"$work/out")"
run 0 "log without the index" log --trail "$t" --no-index
is "the log itself has all" 5 "$(wc -l <"$work/out")"
run 0 "log -n" log --trail "$t" -n1
says out '模型'
is "the newest one" 2 "$(wc -l <"$work/out")"
run 0 "log finds nothing" log --trail "$t" --model none
is "no title for nothing" 0 "$(wc -l <"$work/out")"
says err 'no record matches'
run 0 "log --json" log --trail "$t" --json
clean out "log --json"
python3 - "$work/out" <<'P' && pass || fail "log --json is not JSON lines with the fields of record.proto"
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
assert [r["index"] for r in records] == ["0", "1", "2", "3"], records
assert records[1]["inference"]["input_tokens"] == 12 and records[1]["http"]["status"] == 200
assert records[1]["inference"]["cached_tokens"] == 0            # defaults are written
assert records[2]["inference"]["model"] == "\x1b[31mred\x1b]0;owned\x07"   # nothing is changed
assert records[3]["gaps"] == [{"direction": "response", "from": "100", "to": "200", "reason": "ring_full", "note": ""}]
P
run 1 "log of no trail" log --trail "$work/none"
says err 'is no trail'

# --- following a directory; Ctrl-C ends it with 0 --------------------------------------------------
python3 - "$it" "$t" <<'P' && pass || fail "log --follow --trail: rows come at once, and Ctrl-C ends it with 0"
import signal, subprocess, sys
p = subprocess.Popen([sys.argv[1], "log", "--trail", sys.argv[2], "-f", "-n", "1"], stdout=subprocess.PIPE)
assert b"model" in p.stdout.readline() and b"llama-server" in p.stdout.readline()
p.send_signal(signal.SIGINT)
assert p.wait(5) == 0, p.returncode
P
cp -r "$t" "$work/growing"
python3 - "$it" "$work/growing" "$bin/cli_trail" <<'P' && pass || fail "log --follow --trail: each new record once, none left out"
import json, signal, subprocess, sys
p = subprocess.Popen([sys.argv[1], "log", "--trail", sys.argv[2], "-f", "-n", "1", "--json"], stdout=subprocess.PIPE)
seen = [json.loads(p.stdout.readline())["index"]]
for _ in range(2):
    subprocess.run([sys.argv[3], sys.argv[2], "append"], check=True)
    seen += [json.loads(p.stdout.readline())["index"] for _ in range(2)]
p.send_signal(signal.SIGINT)
assert p.stdout.read() == b"" and p.wait(5) == 0
assert seen == ["3", "4", "5", "6", "7"], seen
P
python3 - "$it" "$t" <<'P' && pass || fail "log --follow does not end when nobody reads"
import subprocess, sys
p = subprocess.Popen([sys.argv[1], "log", "--trail", sys.argv[2], "-f"], stdout=subprocess.PIPE)
p.stdout.readline(); p.stdout.close(); p.wait(5)
P

# --- show --------------------------------------------------------------------------------------
run 0 "show by index" show 3 --trail "$t"
says out 'NOT COMPLETE'
says out 'response: bytes 100 to 200 are missing (100 bytes): the kernel had no room'
says out '--bodies shows it'
says_not out 'raw'
run 0 "show --bodies" show 3 --trail "$t" --bodies
says out '{"raw":"request body"}'
run 0 "show hostile text" show 2 --trail "$t"
clean out "show"
says out '\x1b[2J\u202ehidden'
run 0 "show 0" show 0 --trail "$t"
says out 'record 0  capture.start'
run 0 "show --json" show 1 --trail "$t" --json
is "one line" 1 "$(wc -l <"$work/out")"
id=$(python3 -c 'import json,sys; r=json.load(open(sys.argv[1])); assert r["index"]=="1"; print(r["id"])' "$work/out")
run 0 "show by id" show "$id" --trail "$t"
says out "$id"
run 0 "show by prefix, any case" show "$(echo "${id%????????}" | tr a-f A-F)" --trail "$t"
says out "$id"
run 1 "show of several" show 019 --trail "$t"
says err 'several ids begin with'
run 1 "show of none" show 99 --trail "$t"
says err 'no record has the id or index "99"'
run 1 "an index is not the beginning of an id" show 9 --trail "$t"
run 0 "the beginning of that id" show 90000000- --trail "$t"
run 1 "show of no id" show zz --trail "$t"

# --- verify ------------------------------------------------------------------------------------
run 0 "verify" verify --trail "$t"
clean out "verify"
says out 'origin       cli.test/trail'
says out 'size         4'
says out 'records      4'
cp "$t/checkpoint" "$work/older"
run 0 "verify with key and older checkpoint" verify --trail "$t" --vkey "$t/log.vkey" --older "$work/older"
cp -r "$t" "$work/damaged"
segment=$(ls "$work"/damaged/segments/* | head -1)
python3 - "$segment" <<'P'
import sys
data = bytearray(open(sys.argv[1], "rb").read())
data[len(data) // 3] ^= 1
open(sys.argv[1], "wb").write(data)
P
run 1 "verify finds a flipped bit" verify --trail "$work/damaged"
says err 'verification of'
says err "segments/"
is "nothing on stdout" 0 "$(wc -c <"$work/out")"
"$bin/cli_trail" "$work/other"
run 1 "verify with a foreign key" verify --trail "$t" --vkey "$work/other/log.vkey"
run 1 "verify refuses a checkpoint of another log" verify --trail "$t" --older "$work/other/checkpoint"
run 1 "verify of nothing" verify --trail "$work/none"
says err 'No such file'

# --- usage -------------------------------------------------------------------------------------
run 2 "no command"
says err 'commands:'
run 2 "unknown command" lgo
says err 'did you mean log?'
run 2 "unknown flag" log --folow
says err 'did you mean --follow?'
run 2 "bad time" log --since soon --trail "$t"
says err '--since'
run 2 "bad number" log -n 0 --trail "$t"
run 2 "bad colour" log --color maybe --trail "$t"
run 2 "--no-index alone" log --no-index
run 2 "missing parameter" show
run 2 "a group is no command" target
is "errors are one line" 1 "$(wc -l <"$work/err")"
for command in "" status target "target add" "target remove" "target list" "target discover" log show verify doctor completion help; do
  # shellcheck disable=SC2086
  run 0 "help of '$command'" $command --help
  says out 'infertrail'
  clean out "help of '$command'"
done
run 0 "help log" help log
says out '--follow'
run 2 "help of nothing" help lgo
run 0 "version" --version
says out 'infertrail '

# --- the daemon does not answer ------------------------------------------------------------------
for command in status "target list" "target add auto" "target remove auto" "target discover" log "log -f" "show 1"; do
  # shellcheck disable=SC2086
  run 3 "no daemon: $command" --socket "$work/none.sock" $command
  says err 'is it running? Start it with `sudo infertraild`'
  is "one sentence" 1 "$(wc -l <"$work/err")"
done
python3 -c 'import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])' "$work/stale.sock"
run 3 "a stale socket" --socket "$work/stale.sock" status
says err 'nobody listens'
run 1 "doctor alone" --socket "$work/none.sock" doctor
says out 'kernel'
says out 'does not answer'

# --- colour and pipes ------------------------------------------------------------------------------
run 0 "colour by force" log --trail "$t" --color always
if grep -q $'\x1b\[' "$work/out"; then pass; else fail "--color always has no colour"; fi
tty_out() { python3 - "$@" <<'P'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
out = b""
while True:
    try:
        part = os.read(fd, 65536)
    except OSError:
        break
    if not part:
        break
    out += part
os.waitpid(pid, 0)
sys.stdout.buffer.write(out)
P
}
tty_out "$it" log --trail "$t" >"$work/tty"
if grep -q $'\x1b\[32m' "$work/tty"; then pass; else fail "no colour on a terminal"; fi
NO_COLOR=1 tty_out "$it" log --trail "$t" >"$work/tty"
if grep -q $'\x1b' "$work/tty"; then fail "NO_COLOR is ignored"; else pass; fi
is "no line is wider than the terminal" "" "$(tr -d '\r' <"$work/tty" | python3 -c '
import sys, unicodedata
for line in sys.stdin:
    if sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line.rstrip("\n")) > 80: print(line)')"
( "$it" log --json --trail "$t" 2>"$work/err" | head -c 10 >/dev/null )
is "| head says nothing" 0 "$(wc -c <"$work/err")"
"$it" log --trail "$t" >/dev/full 2>"$work/err"
is "a full disk is an error" 1 $?
says err 'No space left'

# --- completion --------------------------------------------------------------------------------------
run 0 "completion" completion bash
bash -n "$work/out" && pass || fail "the completion script does not parse"
run 2 "completion of another shell" completion fish
"$it" completion bash >"$work/completion"
complete_line() {   # words up to the cursor, the last one unfinished
  bash -c 'source "$0"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _infertrail; echo "${COMPREPLY[*]}"' "$work/completion" "$@"
}
is "complete ve" "verify" "$(complete_line infertrail ve)"
is "complete target d" "discover" "$(complete_line infertrail target d)"
is "complete log --fo" "--follow" "$(complete_line infertrail log --fo)"
is "complete --color a" "auto always" "$(complete_line infertrail --color a)"
is "complete after --socket" "show" "$(complete_line infertrail --socket /s sh)"
is "complete log --kind g" "gap" "$(complete_line infertrail log --kind g)"

# --- a daemon, when there is one -----------------------------------------------------------------------
if [[ -n ${IT_CLI_SOCKET:-} ]]; then
  live=(--socket "$IT_CLI_SOCKET")
  run 0 "live status" "${live[@]}" status
  says out 'infertraild '
  run 0 "live target add" "${live[@]}" target add port=65111
  says out 'port=65111'
  run 2 "live bad selector" "${live[@]}" target add prot=1
  says err 'selector'
  run 0 "live target remove" "${live[@]}" target remove port=65111
  says_not out 'port=65111'
  run 1 "live remove again" "${live[@]}" target remove port=65111
  run 0 "live log" "${live[@]}" log
  says out 'target add port=65111'
  run 0 "live show 0" "${live[@]}" show 0 --json
  python3 -c 'import json,sys; assert json.load(open(sys.argv[1]))["index"]=="0"' "$work/out" && pass || fail "live show 0"
  run 1 "live show of none" "${live[@]}" show 999999999
  python3 - "$it" "${live[@]}" <<'P' && pass || fail "live log --follow: what comes is shown at once, Ctrl-C ends it with 0"
import signal, subprocess, sys
program = sys.argv[1:]
p = subprocess.Popen(program + ["log", "-f", "-n", "1"], stdout=subprocess.PIPE)
p.stdout.readline(); p.stdout.readline()
subprocess.run(program + ["target", "add", "port=65112"], check=True, stdout=subprocess.DEVNULL)
assert b"port=65112" in p.stdout.readline()
p.send_signal(signal.SIGINT)
assert p.wait(5) == 0, p.returncode
subprocess.run(program + ["target", "remove", "port=65112"], check=True, stdout=subprocess.DEVNULL)
P
fi

echo "$passed passed, $failed failed"
[[ $failed == 0 ]]
