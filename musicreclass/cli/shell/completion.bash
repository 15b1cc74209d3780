# Completion of musicreclass in bash. `musicreclass completion bash --install` installs it.
_musicreclass() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n' prefix=""
    local word="${line##* }"
    COMPREPLY=($("${COMP_WORDS[0]}" completion --line "$line" 2>/dev/null))
    case "$COMP_WORDBREAKS" in *=*)  # bash completes only what follows the last =
        case "$word" in *=*) prefix="${word%=*}=" ;; esac ;;
    esac
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
    case "${COMPREPLY[0]}" in *= | *. | */) compopt -o nospace 2>/dev/null ;; esac
}
complete -o default -F _musicreclass musicreclass
