# Completes textgen's command lines in fish. `textgen completions --help` says how to install it.

# What may come next, VALUE TAB HELP, one a line; the first line says whether paths may follow.
function __textgen_answer
    set -l words (commandline -opc)
    set -e words[1]
    set -l current (commandline -ct)
    textgen __complete fish -- $words "$current" 2>/dev/null
end

function __textgen_values
    set -l answer (__textgen_answer)
    test "$answer[1]" = folders
    and __fish_complete_directories (commandline -ct) ''
    set -e answer[1]
    printf '%s\n' $answer
end

function __textgen_takes_paths
    set -l answer (__textgen_answer)
    contains -- "$answer[1]" files models
end

complete -c textgen -f
complete -c textgen -k -a '(__textgen_values)'
complete -c textgen -n __textgen_takes_paths -F
