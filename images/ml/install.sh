#!/bin/sh
# Installs /tmp/lock.txt with the mounted uv, into /opt/venv unless UV_PYTHON says otherwise: install.sh [uv options]
exec env UV_CACHE_DIR=/tmp/cache UV_LINK_MODE=copy UV_NO_CONFIG=1 UV_NO_PROGRESS=1 UV_PYTHON="${UV_PYTHON:-/opt/venv}" \
    /tmp/tools/opt/uv/bin/uv pip install --no-deps --require-hashes --compile-bytecode \
    ${PYPI_INDEX:+--default-index "${PYPI_INDEX}"} --requirement /tmp/lock.txt "$@"
