#!/bin/sh
# Runs a program of this folder with the installer's Python, whose libraries are mounted as well: run.sh PROGRAM [WORDS]
exec env "LD_LIBRARY_PATH=/tmp/installer/usr/lib/$(uname -m)-linux-gnu" PYTHONPATH=/tmp/installer/opt \
    /tmp/installer/usr/bin/python3 -B "${0%/*}"/"$@"
