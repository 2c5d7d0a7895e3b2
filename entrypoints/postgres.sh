#!/bin/sh
# Postgres for our image (Debian's packages) and the official one (neither has Python). /run/secrets/postgres-password is the
# password of its superuser, `postgres`; each further /run/secrets/postgres-NAME that of a role NAME, which owns a database
# of that name and nothing else. `monitor` owns none: it reads the figures of all.
# Needs these and a writable /var/lib/postgresql/data; stop it with SIGINT (fast shutdown).
# `postgres.sh health` is the healthcheck. `postgres.sh dump` writes all databases to a file in the data's folder, from which a
# Postgres of another major version begins (`ws postgres upgrade`); no other may run on the data meanwhile.
set -eu
umask 077
root=${POSTGRES_DATA:-/var/lib/postgresql/data}
data=$root/main
secret=${POSTGRES_PASSWORD_FILE:-/run/secrets/postgres-password}
superuser=postgres
fail() {
    echo "[postgres] error: $1" >&2
    exit 1
}

for bin in /usr/lib/postgresql/*/bin; do
    [ -x "$bin/postgres" ] && PATH="$bin:$PATH"
done
export PATH
command -v initdb >/dev/null || fail "this image has no Postgres in /usr/lib/postgresql/*/bin or on PATH; set another image."
[ "${1:-}" != health ] || exec pg_isready --host=127.0.0.1 --username=$superuser --dbname=postgres
[ -s "$secret" ] || fail "$secret is missing, empty or unreadable; mount the password of Postgres into this container."
[ -s "${secret%/*}/postgres-mlflow" ] || fail "${secret%/*}/postgres-mlflow is missing; mount the password of MLflow's role."
[ -w "$root" ] || fail "user $(id -u) cannot write to $root; give the folder to that user: chown $(id -u) <folder on the host>."

dumped=$root/upgrade.sql
unfinished=$root/unfinished
ours=$(postgres --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
version_of_data() { cat "$data/PG_VERSION" 2>/dev/null || true; }
# A server that only this container reaches.
start_alone() { pg_ctl --pgdata="$1" --silent --wait --timeout=600 -o "-c listen_addresses= -c unix_socket_directories=/tmp $2" start; }
stop_alone() { pg_ctl --pgdata="$1" --silent --wait --timeout=600 --mode=fast stop; }
log_in_alone() {
    PGPASSWORD=$(head -n 1 "$secret")
    export PGPASSWORD PGHOST=/tmp PGUSER=$superuser
}

# Two servers on one folder would ruin it, and Postgres itself does not see one in another container. The lock is held by all that
# is started below, for as long as that runs.
if command -v flock >/dev/null; then
    exec 9>"$root/lock"
    flock -n 9 || fail "another Postgres runs on $root, or its databases are being dumped there (docker ps)."
    # So this is of one that was killed, whose PID this shell may have in its own container: Postgres would refuse to start.
    rm -f "$data/postmaster.pid"
fi

# Written beside its place and renamed at the end, so that an interrupted dump is none.
if [ "${1:-}" = dump ]; then
    rm -rf "$dumped" "$dumped.part" "$unfinished"
    start_alone "$data" '' || fail "Postgres $(version_of_data) did not start on $data."
    log_in_alone
    pg_dumpall >"$dumped.part" || { rm -f "$dumped.part"; stop_alone "$data" || true; fail "the databases could not be dumped."; }
    stop_alone "$data"
    sync "$dumped.part"
    mv "$dumped.part" "$dumped"
    exit
fi

# Prepared beside its place and renamed at the end, so that an interrupted start leaves nothing half done.
make_unfinished() {
    rm -rf "$unfinished"
    # With checksums, damage of the disk is an error, and no wrong answer. Earlier data: docs/operating.md.
    said=$(initdb --pgdata="$unfinished" --username=$superuser --pwfile="$secret" --encoding=UTF8 --locale=C.UTF-8 \
        --data-checksums --auth-host=scram-sha-256 --auth-local=scram-sha-256 --no-instructions 2>&1) ||
        fail "initdb failed: $(echo "$said" | tail -n 1)"
    echo 'host all all all scram-sha-256' >>"$unfinished/pg_hba.conf"
}
# The dump begins with the roles, their passwords and rights. The superuser's are those that initdb has set: they may be newer.
restore_unfinished() {
    start_alone "$unfinished" '-c fsync=off -c full_page_writes=off' || fail "Postgres $ours did not start on new data."
    (
        log_in_alone
        rm -f "$dumped.cut"
        tail -n 5 "$dumped" | grep -q 'cluster dump complete' &&
            { sed -E '1,/^\\connect /{/^(CREATE|ALTER) ROLE '$superuser'[ ;]/d}' "$dumped" || : >"$dumped.cut"; } |
            psql --dbname=postgres --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --output=/dev/null &&
            [ ! -e "$dumped.cut" ] && vacuumdb --all --analyze-only --quiet
    ) || { stop_alone "$unfinished" || true; fail "$dumped could not be restored; the lines above say why. $data is as it was."; }
    stop_alone "$unfinished"
    initdb --pgdata="$unfinished" --sync-only >/dev/null
}
if [ -e "$dumped" ] && [ "$(version_of_data)" != "$ours" ]; then
    echo "[postgres] restoring the databases into Postgres $ours"
    make_unfinished
    restore_unfinished
    former=$(version_of_data)
    if [ -n "$former" ]; then
        rm -rf "$data-$former"
        mv "$data" "$data-$former" # to go back: docs/operating.md
    fi
    mv "$unfinished" "$data"
elif [ -z "$(version_of_data)" ]; then
    echo "[postgres] creating the database"
    make_unfinished
    mv "$unfinished" "$data"
fi
major=$(version_of_data)
[ "$major" = "$ours" ] || fail "$data was written by Postgres $major, but this image has Postgres $ours. Use an image of $major; \
\`ws postgres upgrade\` then brings the data to another version."
# Of an upgrade that has ended, or was given up: what Postgres writes from now on is not in it.
rm -rf "$dumped" "$dumped.part" "$dumped.cut" "$unfinished"

# Secrets may have been replaced since, and roles and databases are made where an earlier version ran without them;
# passwords reach Postgres on standard input only. A line is a statement here, and the first that fails ends it.
alone() { postgres --single -D "$data" -c log_statement=none -c exit_on_error=on "$1"; }
statement() { tr '\n' ' ' && echo; }
set_password() { printf "ALTER ROLE %s LOGIN PASSWORD '%s';\n" "$1" "$(head -n 1 "$2" | sed "s/'/''/g")"; }
roles() {
    for file in "${secret%/*}"/postgres-*; do
        [ "$file" = "$secret" ] || [ ! -s "$file" ] || echo "${file##*/postgres-}"
    done
}
owners() { roles | grep -vx monitor; }
# Earlier versions had `mlflow` as the superuser that initdb makes, which can neither be removed nor lose its rights: it is
# renamed. Nobody may rename the role that they are.
rename_superuser() {
    statement <<'SQL'
DO $$BEGIN
IF (SELECT rolname = 'mlflow' FROM pg_roles WHERE oid = 10) THEN
    CREATE ROLE "cslr-rename" SUPERUSER;
    SET LOCAL SESSION AUTHORIZATION "cslr-rename";
    ALTER ROLE mlflow RENAME TO postgres;
    SET LOCAL SESSION AUTHORIZATION postgres;
    DROP ROLE "cslr-rename";
END IF;
END$$;
SQL
}
# What the superuser has in a database goes to the database's owner, all of it or nothing. Sequences of columns follow their tables.
hand_over() {
    sed "s/OWNER_/$1/g" <<'SQL' | statement
DO $$DECLARE command text;
BEGIN
FOR command IN
    WITH place AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
    bound AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e' OR (deptype IN ('a', 'i') AND refobjsubid > 0
        AND classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass)),
    own AS (SELECT 'pg_namespace'::regclass::oid AS class, oid, format('SCHEMA %I', nspname) AS name FROM pg_namespace
        WHERE nspowner = 10 AND oid IN (SELECT oid FROM place)
    UNION ALL SELECT 'pg_class'::regclass, oid, format('TABLE %s', oid::regclass) FROM pg_class
        WHERE relowner = 10 AND relnamespace IN (SELECT oid FROM place) AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL SELECT 'pg_proc'::regclass, oid, format('ROUTINE %s', oid::regprocedure) FROM pg_proc
        WHERE proowner = 10 AND pronamespace IN (SELECT oid FROM place)
    UNION ALL SELECT 'pg_type'::regclass, oid, format('TYPE %s', oid::regtype) FROM pg_type
        WHERE typowner = 10 AND typnamespace IN (SELECT oid FROM place)
        AND (typtype IN ('d', 'e', 'r') OR typrelid IN (SELECT oid FROM pg_class WHERE relkind = 'c')))
    SELECT 'ALTER ' || name FROM own WHERE (class, oid) NOT IN (SELECT classid, objid FROM bound)
    UNION ALL SELECT format('ALTER LARGE OBJECT %s', oid) FROM pg_largeobject_metadata WHERE lomowner = 10
    UNION ALL SELECT 'ALTER DATABASE OWNER_'
LOOP EXECUTE command || ' OWNER TO OWNER_'; END LOOP;
END$$;
SQL
}
found=$({
    rename_superuser
    set_password $superuser "$secret"
    for role in $(roles); do
        echo "DO \$\$BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$role') THEN CREATE ROLE $role; END IF; END\$\$;"
        set_password "$role" "${secret%/*}/postgres-$role"
        echo "SELECT datname || ' of ' || pg_get_userbyid(datdba) FROM pg_database WHERE datname = '$role';"
    done
    echo 'GRANT pg_monitor TO monitor;'
} | alone postgres) || fail "the roles and passwords could not be set; the line above says why."
for owner in $(owners); do
    case $found in
    *"= \"$owner of $owner\""*) ;;
    *"= \"$owner of $superuser\""*) hand_over "$owner" | alone "$owner" >/dev/null || fail "the database $owner could not be given to its role." ;;
    *"= \"$owner of "*) ;; # somebody's own
    *) echo "CREATE DATABASE $owner OWNER $owner;" | alone postgres >/dev/null || fail "the database $owner could not be made." ;;
    esac
done

echo "[postgres] starting"
exec postgres -D "$data" -c listen_addresses='*' -c unix_socket_directories=/tmp -c password_encryption=scram-sha-256 "$@"
