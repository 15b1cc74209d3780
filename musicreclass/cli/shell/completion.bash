# Completion of musicreclass in bash. `musicreclass completion bash --install` installs it.
_musicreclass() {
    local IFS=$'\n' word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD - 1]}"
    COMPREPLY=($("${COMP_WORDS[0]}" completion --line "${COMP_LINE:0:COMP_POINT}" 2>/dev/null))
    if [[ "$word" == "=" || "$before" == "=" ]]; then  # = is a word by itself: bash completes what follows it
        COMPREPLY=("${COMPREPLY[@]#*=}")
    fi
    [[ "$word" == [\"\']* ]] || COMPREPLY=("${COMPREPLY[@]// /\\ }")
    case "${COMPREPLY[0]}" in *= | *. | */) compopt -o nospace 2>/dev/null ;; esac
}
complete -o default -F _musicreclass musicreclass
