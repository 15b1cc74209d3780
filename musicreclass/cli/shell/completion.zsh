# Completion of musicreclass in zsh. `musicreclass completion zsh --install` installs it.
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_musicreclass() {
    local -a candidates
    candidates=("${(@f)$(${words[1]} completion --line "${(j: :)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${candidates[1]}" ]]; then
        compadd -S '' -a candidates
    else
        _files
    fi
}
compdef _musicreclass musicreclass
