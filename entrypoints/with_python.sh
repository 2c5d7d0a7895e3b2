#!/bin/sh
# Starts a Python program in the Python environment of the image it runs in: with_python.sh PROGRAM.py [ARGS]
# Or a module of a package beside this file: with_python.sh -m entrypoints.ray.node [ARGS]
# /opt/venv: our images; conda environment `py`: older releases; /home/ray/anaconda3: the official Ray images.
# Secrets that the stack hands over as environment variables: a file for each, with its name (`env_secrets`).
for cslr_file in /run/secrets/env/*; do
    if [ -r "$cslr_file" ]; then
        export "${cslr_file##*/}=$(cat "$cslr_file")"
    fi
done
unset cslr_file
case $1 in -m) cd "$(dirname "$0")" || exit ;; esac
for cslr_bin in /opt/venv/bin /opt/conda/envs/py/bin /opt/*conda*/envs/py/bin /home/ray/anaconda3/bin; do
    if [ -x "$cslr_bin/python" ]; then
        PATH="$cslr_bin:$PATH"
        export PATH
        exec "$cslr_bin/python" "$@"
    fi
done
command -v python3 >/dev/null && exec python3 "$@"
echo "with_python.sh: no Python in /opt/venv, /opt/*conda*/envs/py, /home/ray/anaconda3 or on PATH, so $1 cannot start;" \
    "set this service's image to one that has Python." >&2
exit 127
