#!/bin/bash
# The Python environment of a job on the local disk of its nodes. Every function is called by a job of `cmbert launch slurm`
# with the settings of its script in the environment (launcher/slurm/environment.py):
#   CMBERT_ENVIRONMENTS  directory of this user on the local disk
#   CMBERT_ENVIRONMENT   name of the environment there, which changes with its content
#   CMBERT_ARCHIVE       archive of it on a shared disk
#   CMBERT_ARCHIVE_KB, CMBERT_ARCHIVE_FILES   what it needs when unpacked
#   CMBERT_CODE          the job's copy of the code on a shared disk
# A node on which something fails uses the shared environment, and says so.

environment=$CMBERT_ENVIRONMENTS/$CMBERT_ENVIRONMENT
code=$environment/code-$(basename "$(dirname "$CMBERT_CODE")")

give_up() {
    echo "the Python environment stays on the shared disk for ${SLURMD_NODENAME:-this node}: $*" >&2
    exit 0
}

# Code is run from here, so nobody else may write to it.
require_own() {
    mkdir -p "$1" 2> /dev/null
    [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] && [ -w "$1" ] || give_up "$1 is not a directory of this user that can be written"
    [ -z "$(find "$1" -maxdepth 0 -perm /022)" ] || give_up "others can write to $1"
}

# Remove directories in PARENT by PATTERN that no process uses and that no job has wanted for DAYS.
remove_unused() {
    local other
    find "$1" -mindepth 1 -maxdepth 1 -name "$2" -mtime "+$3" | while read -r other; do
        grep -qsF "$other" /proc/[0-9]*/maps /proc/[0-9]*/environ || rm -rf "$other"
    done
}

has_space() {
    [ "$(df -Pk "$CMBERT_ENVIRONMENTS" | awk 'END { print $4 }')" -gt "$CMBERT_ARCHIVE_KB" ] || return 1
    local inodes
    inodes=$(df -Pi "$CMBERT_ENVIRONMENTS" | awk 'END { print $4 }')
    [[ ! $inodes =~ ^[1-9] ]] || [ "$inodes" -gt "$CMBERT_ARCHIVE_FILES" ] # some file systems have no such number
}

decompress() {
    case $CMBERT_ARCHIVE in
        *.zst) zstd --decompress --stdout --quiet "$CMBERT_ARCHIVE" ;;
        *) gzip --decompress --stdout "$CMBERT_ARCHIVE" ;;
    esac
}

unpack() {
    set -o pipefail
    umask 077
    require_own "$(dirname "$CMBERT_ENVIRONMENTS")"
    require_own "$CMBERT_ENVIRONMENTS"
    # Another job may unpack it at this moment.
    exec 9> "$CMBERT_ENVIRONMENTS/.lock" && flock 9
    local partial=$CMBERT_ENVIRONMENTS/.partial.$$ began=$SECONDS
    if [ -d "$environment" ]; then
        echo "the Python environment is on the local disk already: $environment"
    else
        [ -r "$CMBERT_ARCHIVE" ] || give_up "$CMBERT_ARCHIVE cannot be read"
        rm -rf "$CMBERT_ENVIRONMENTS"/.partial.* # of a job that was killed
        remove_unused "$CMBERT_ENVIRONMENTS" '[!.]*' 7
        has_space || remove_unused "$CMBERT_ENVIRONMENTS" '[!.]*' -1
        has_space || give_up "$CMBERT_ENVIRONMENTS has no space for $((CMBERT_ARCHIVE_KB / 1024)) MB in $CMBERT_ARCHIVE_FILES files"
        trap 'rm -rf "$partial"' EXIT
        mkdir "$partial" && decompress | tar --extract --no-same-owner --directory "$partial" || give_up "$CMBERT_ARCHIVE cannot be unpacked"
        [ ! -d "$partial/base" ] || sed -i "s|^home *=.*|home = $environment/base/bin|" "$partial/environment/pyvenv.cfg"
        mv -T "$partial" "$environment" || give_up "$environment cannot be made"
        echo "the Python environment was unpacked in $((SECONDS - began)) s: $environment"
    fi
    if [ ! -d "$code" ]; then
        remove_unused "$environment" 'code-*' 1
        rm -rf "$environment/.code"
        cp -r "$CMBERT_CODE" "$environment/.code" && mv -T "$environment/.code" "$code" || give_up "$CMBERT_CODE cannot be copied"
    fi
    touch "$environment" "$code"
}

# Run the local copy of a Python: PYTHON ARGUMENTS
run() {
    local python=$environment/environment/bin/${1##*/}
    if [ -x "$python" ] && [ -d "$code" ]; then
        shift
        export PYTHONPATH=$code
        exec "$python" "${@/#"$CMBERT_CODE"/"$code"}"
    fi
    exec "$@"
}

"$@"
