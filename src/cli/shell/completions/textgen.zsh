#compdef textgen
# Completes textgen's command lines in zsh. `textgen completions --help` says how to install it.

_textgen() {
    local kind line value
    local -a lines described
    # Each answer is a line, VALUE TAB HELP; the first says whether paths may follow.
    lines=("${(@f)$(textgen __complete zsh -- "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    kind=$lines[1]
    shift lines
    for line in "${(@)lines}"; do
        value=${${${line%%$'\t'*}//\\/\\\\}//:/\\:}
        described+=("$value${${line#*$'\t'}:+:${line#*$'\t'}}")
    done
    [[ $PREFIX == --*=* ]] && compset -P 1 '*='
    (( $#described )) && _describe -V textgen described
    case $kind in
        models) _files -g '*.safetensors(-.)' ;;
        files) _files ;;
        folders) _files -/ ;;
    esac
}

# Autoloaded from fpath, the file is the function; sourced, it defines it.
if [[ $funcstack[1] == _textgen ]]; then
    _textgen "$@"
else
    compdef _textgen textgen
fi
