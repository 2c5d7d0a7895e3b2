#!/bin/sh
# Makes and deletes users of Ray's heads in Redis, as who holds the lease asks for it: users.sh PASSWORD-FILE NAMESPACE RIGHT…
# In Redis's container, so that no container that runs Ray has the right to. What may be asked is in users.lua.
# In the language that every image of Redis has, with as few processes for a request as can be. The password is the first
# line that redis-cli reads: an environment would show it.
set -f # names of users are words, no patterns
password=$(cat "$1") namespace=$2 asks=cslr:$2:asks
shift 2
port=${REDIS_PORT:-6379}
rules=$(dirname "$0")/users.lua
newline='
'
while :; do
    # Three things, a line for each: the key, the request, and for each user that there is then one more.
    taken=$(printf '%s\nBLPOP %s 0\nACL USERS\n' "$password" "$asks" | redis-cli --askpass -p "$port" 2>/dev/null)
    case $taken in
    "$asks$newline"*)
        taken=${taken#*"$newline"}
        request=${taken%%"$newline"*} users=${taken#*"$newline"}
        # One word for each user.
        # shellcheck disable=SC2086
        printf '%s\n' "$password" |
            redis-cli --askpass -e -p "$port" --eval "$rules" , "$namespace" "$request" $# "$@" $users |
            { printf '%s\n' "$password" && cat; } |
            redis-cli --askpass -p "$port" >/dev/null
        ;;
    *) sleep 0.2 ;; # it is starting, or takes no writes, as the copy of another one
    esac
done
