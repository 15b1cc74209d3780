# Completion of musicreclass in fish. `musicreclass completion fish --install` installs it.
complete -c musicreclass -a '(musicreclass completion --line (commandline -cp) 2>/dev/null)'
