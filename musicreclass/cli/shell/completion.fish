# Completion of musicreclass in fish. `musicreclass completion fish --install` installs it.
function __musicreclass_candidates
    set -l candidates (musicreclass completion --line (commandline -cp) 2>/dev/null)
    if set -q candidates[1]
        printf '%s\n' $candidates
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c musicreclass -f -a '(__musicreclass_candidates)'
