#!/bin/sh
# Makes and deletes users of Ray's heads in Redis, as who holds the lease asks for it: users.sh NAMESPACE RIGHT…
# In Redis's container, so that no container that runs Ray has the right to. What may be asked is in users.lua.
# Needs REDISCLI_AUTH. In the language that every image of Redis has, with as few processes for a request as can be.
set -f # names of users are words, no patterns
namespace=$1 asks=cslr:$1:asks
shift
port=${REDIS_PORT:-6379}
rules=$(dirname "$0")/users.lua
newline='
'
while :; do
    # Three things, a line for each: the key, the request, and for each user that there is then one more.
    taken=$(printf 'BLPOP %s 0\nACL USERS\n' "$asks" | redis-cli -p "$port" 2>/dev/null)
    case $taken in
    "$asks$newline"*)
        taken=${taken#*"$newline"}
        request=${taken%%"$newline"*} users=${taken#*"$newline"}
        # One word for each user.
        # shellcheck disable=SC2086
        redis-cli -e -p "$port" --eval "$rules" , "$namespace" "$request" $# "$@" $users |
            redis-cli -p "$port" >/dev/null
        ;;
    *) sleep 0.2 ;; # it is starting, or takes no writes, as the copy of another one
    esac
done
