#!/bin/sh
# Starts Redis, and beside it what makes users of heads: server.sh CONFIGURATION PASSWORD-FILE NAMESPACE RIGHT…
configuration=$1 password=$2
shift 2
while :; do
    sh "$(dirname "$0")/users.sh" "$password" "$@"
    sleep 1
done &
exec redis-server "$configuration"
