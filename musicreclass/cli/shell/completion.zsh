# Completion of musicreclass in zsh. `musicreclass completion zsh --install` installs it.
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_musicreclass() {
    local -a candidates unfinished
    candidates=("${(@f)$(${(Q)words[1]} completion --line "${(j: :)words[1,CURRENT-1]} $PREFIX" 2>/dev/null)}")
    if [[ -n "${candidates[1]}" ]]; then
        unfinished=(${(M)candidates:#*[=./]})  # no blank follows
        compadd -U -S '' -a unfinished
        candidates=(${candidates:#*[=./]})
        compadd -U -a candidates
        return 0
    else
        _files
    fi
}
compdef _musicreclass musicreclass
