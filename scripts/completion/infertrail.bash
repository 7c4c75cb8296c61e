# bash completion for infertrail; made by `infertrail completion bash`.
_infertrail() {
  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" global offers command="" i
  global="--socket --color --help --version"
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "${COMP_WORDS[i]}" in
      --socket|--color) ((i++)) ;;
      -*) ;;
      *) if [[ -z $command ]]; then command="${COMP_WORDS[i]}"
         elif [[ $command == target ]]; then command="$command ${COMP_WORDS[i]}"; fi ;;
    esac
  done
  case "$command" in
    "")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers=" $global" ;;
    "status")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="--json $global" ;;
    "target add")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="auto pid= exe= comm= cmdline~= cgroup= port= unit= --json $global" ;;
    "target remove")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="auto pid= exe= comm= cmdline~= cgroup= port= unit= --json $global" ;;
    "target list")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="--json $global" ;;
    "target discover")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="--json $global" ;;
    "log")
      case "$prev" in
        --since) return ;;
        --until) return ;;
        --limit|-n) return ;;
        --model) return ;;
        --exe) return ;;
        --pid) return ;;
        --status) return ;;
        --kind) COMPREPLY=($(compgen -W "exchange undecoded gap coverage capture.start capture.stop target recovery" -- "$cur")); return ;;
        --grep) return ;;
        --id) return ;;
        --trail) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="--follow -f --json --since --until --limit -n --model --exe --pid --status --kind --grep --id --trail --no-index $global" ;;
    "show")
      case "$prev" in
        --trail) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="--bodies --json --trail --no-index $global" ;;
    "verify")
      case "$prev" in
        --trail) COMPREPLY=($(compgen -d -- "$cur")); return ;;
        --vkey) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --older) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="--trail --vkey --older $global" ;;
    "doctor")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="--json $global" ;;
    "completion")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="bash $global" ;;
    "help")
      case "$prev" in
        --socket) COMPREPLY=($(compgen -f -- "$cur")); return ;;
        --color) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
      esac
      offers="status target log show verify doctor completion help $global" ;;
    target) offers="add remove list discover $global" ;;
    *) return ;;
  esac
  [[ -z $command ]] && offers="status target log show verify doctor completion help $offers"
  COMPREPLY=($(compgen -W "$offers" -- "$cur"))
}
complete -F _infertrail infertrail
