# Completes textgen's command lines in bash. `textgen completions --help` says how to install it.

# Adds an answer, quoted as the word at the cursor is.
_textgen_add() {
    local value=$1
    case $word in
    \"*)
        value=${value//\\/\\\\} value=${value//\"/\\\"}
        value=${value//\$/\\\$} value=${value//\`/\\\`}
        ;;
    \'*) value=${value//\'/\'\\\'\'} ;;
    *) printf -v value %q "$value" ;;
    esac
    COMPREPLY+=("$value")
}

_textgen() {
    local word=${COMP_WORDS[COMP_CWORD]} kind= line
    COMPREPLY=()
    # Each answer is a line; the first says whether paths may follow.
    while IFS= read -r line; do
        if [[ -z $kind ]]; then
            kind=$line
        else
            _textgen_add "$line"
        fi
    done < <(textgen __complete bash -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    case $kind in
    files | models)
        # Without other answers, readline completes paths by itself.
        if ((${#COMPREPLY[@]})); then
            while IFS= read -r line; do
                [[ -d $line ]] && line+=/
                _textgen_add "$line"
            done < <(compgen -f -- "$2")
        fi
        ;;
    folders)
        compopt +o default +o bashdefault -o plusdirs 2>/dev/null
        ;;
    *)
        compopt +o default +o bashdefault 2>/dev/null
        ;;
    esac
}

if ((BASH_VERSINFO[0] > 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4))); then
    complete -o nosort -o bashdefault -o default -F _textgen textgen
else
    complete -o bashdefault -o default -F _textgen textgen
fi
