#!/bin/sh
# Postgres with the user and database `mlflow`, for our image (Debian's packages) and the official one (neither has Python).
# Each further /run/secrets/postgres-NAME is the password of a role NAME, which owns a database of that name and nothing else.
# Needs /run/secrets/postgres-password and a writable /var/lib/postgresql/data; stop it with SIGINT (fast shutdown).
# `postgres.sh health` is the healthcheck.
set -eu
umask 077
root=${POSTGRES_DATA:-/var/lib/postgresql/data}
data=$root/main
secret=${POSTGRES_PASSWORD_FILE:-/run/secrets/postgres-password}
name=mlflow
fail() {
    echo "[postgres] error: $1" >&2
    exit 1
}

for bin in /usr/lib/postgresql/*/bin; do
    [ -x "$bin/postgres" ] && PATH="$bin:$PATH"
done
export PATH
command -v initdb >/dev/null || fail "this image has no Postgres in /usr/lib/postgresql/*/bin or on PATH; set another image."
[ "${1:-}" != health ] || exec pg_isready --host=127.0.0.1 --username=$name --dbname=$name
[ -s "$secret" ] || fail "$secret is missing, empty or unreadable; mount the password of Postgres into this container."
[ -w "$root" ] || fail "user $(id -u) cannot write to $root; give the folder to that user: chown $(id -u) <folder on the host>."

# Prepared beside its place and renamed at the end, so that an interrupted start leaves nothing half done.
if [ ! -e "$data/PG_VERSION" ]; then
    rm -rf "$root/unfinished"
    echo "[postgres] creating the database"
    # Damage of the disk is then an error, and no wrong answer. Earlier data: docs/operating.md.
    said=$(initdb --pgdata="$root/unfinished" --username=$name --pwfile="$secret" --encoding=UTF8 --locale=C.UTF-8 \
        --data-checksums --auth-host=scram-sha-256 --auth-local=scram-sha-256 --no-instructions 2>&1) ||
        fail "initdb failed: $(echo "$said" | tail -n 1)"
    echo 'host all all all scram-sha-256' >>"$root/unfinished/pg_hba.conf"
    echo "CREATE DATABASE $name;" | postgres --single -D "$root/unfinished" postgres >/dev/null
    mv "$root/unfinished" "$data"
fi
major=$(cat "$data/PG_VERSION")
case $(postgres --version) in
*" $major."* | *" $major "*) ;;
*) fail "$data was written by Postgres $major, but this image has $(postgres --version); use an image of $major." ;;
esac

# Secrets may have been replaced since, and databases are made where an earlier version ran without them; passwords
# reach Postgres on standard input only. A line is a statement here.
set_password() { printf "ALTER ROLE %s LOGIN PASSWORD '%s';\n" "$1" "$(head -n 1 "$2" | sed "s/'/''/g")"; }
alone() { postgres --single -D "$data" -c log_statement=none postgres; }
owners() {
    for file in "${secret%/*}"/postgres-*; do
        [ "$file" = "$secret" ] || [ ! -s "$file" ] || echo "${file##*/postgres-}"
    done
}
found=$({
    set_password $name "$secret"
    for owner in $(owners); do
        echo "DO \$\$BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$owner') THEN CREATE ROLE $owner; END IF; END\$\$;"
        set_password "$owner" "${secret%/*}/postgres-$owner"
        echo "SELECT datname FROM pg_database WHERE datname = '$owner';"
    done
} | alone) || fail "the passwords could not be set."
for owner in $(owners); do
    case $found in
    *"= \"$owner\""*) ;;
    *) echo "CREATE DATABASE $owner OWNER $owner;" | alone >/dev/null || fail "the database $owner could not be made." ;;
    esac
done

echo "[postgres] starting"
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp -c password_encryption=scram-sha-256 "$@"
