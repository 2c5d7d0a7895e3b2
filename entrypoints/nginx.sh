#!/bin/sh
# nginx that takes up a new certificate without a restart: `ws up` replaces the file, this notices it and tells nginx.
# Connections that are open stay with the old certificate until they end. Arguments: configuration, file to watch.
set -u
configuration=$1 watched=$2

seen=$(cksum <"$watched")
nginx -c "$configuration" &
server=$!
# What is being served may end, but a notebook's connection has no end.
trap 'kill -QUIT $server; (sleep 5; kill -TERM $server 2>/dev/null) & wait $server; exit 0' TERM QUIT INT

while kill -0 $server 2>/dev/null; do
    sleep 5 &
    wait $!
    now=$(cksum <"$watched") || continue
    [ "$now" = "$seen" ] && continue
    seen=$now
    if nginx -t -q -c "$configuration"; then
        kill -HUP $server
        echo "[nginx] took up the new certificate"
    else
        echo "[nginx] error: $watched cannot be used; the certificate from before stays" >&2
    fi
done
wait $server
