#!/usr/bin/env bash
# redis-cli and redis-benchmark, unchanged.
set -euo pipefail

# What a command's answer must be.
expect() {
    local expected=$1 found
    shift
    found=$("$@" 2>&1) || true
    if [ "$found" != "$expected" ]; then
        printf '%s\nanswered: %s\nexpected: %s\n' "$*" "$found" "$expected" >&2
        exit 1
    fi
}

IFS=, read -ra addresses <<<"$HOSTD_ADDRESSES"
for address in "${addresses[@]}"; do
    host=${address%:*}
    port=${address##*:}
    for flags in -2 -3 "-c -2"; do
        # shellcheck disable=SC2206
        cli=(redis-cli -h "$host" -p "$port" $flags)
        expect PONG "${cli[@]}" PING
        expect OK "${cli[@]}" SET "cli:$port" "a b"
        expect "a b" "${cli[@]}" GET "cli:$port"
        expect "" "${cli[@]}" GET cli:none
        expect OK "${cli[@]}" MSET cli:a 1 cli:b 2
        expect $'1\n2' "${cli[@]}" MGET cli:a cli:b
        expect 2 "${cli[@]}" DEL cli:a cli:b
        expect "ERR syntax error" "${cli[@]}" SET k v NX XX
        expect "OK" "${cli[@]}" SELECT 0
    done
    # An interactive session asks for the commands first, and shows their types.
    printf 'SET cli:typed v\nGET cli:typed\nMGET cli:typed cli:none\n' |
        expect $'OK\n"v"\n1) "v"\n2) (nil)' redis-cli --no-raw -h "$host" -p "$port"
done

first=${addresses[0]}
# With TLS, as nobody in particular and as whom a certificate names.
tls=(redis-cli -h "${first%:*}" -p "${first##*:}" --tls --cacert "$HOSTD_PKI/ca.pem")
expect OK "${tls[@]}" SET cli:tls v
user=$("${tls[@]}" --cert "$HOSTD_PKI/admin.pem" --key "$HOSTD_PKI/admin-key.pem" CLIENT INFO)
if ! grep -q 'user=admin ' <<<"$user"; then
    printf 'the certificate of admin makes it: %s\n' "$user" >&2
    exit 1
fi

for pipeline in 1 16; do
    output=$(redis-benchmark -h "${first%:*}" -p "${first##*:}" -t set,get,incr,mset,ping \
        -n 4000 -c 50 -P "$pipeline" --csv 2>&1)
    if grep -i error <<<"$output"; then
        exit 1
    fi
    for name in PING_INLINE PING_MBULK SET GET INCR "MSET (10 keys)"; do
        if ! grep -qF "\"$name\"" <<<"$output"; then
            printf 'redis-benchmark did not run %s:\n%s\n' "$name" "$output" >&2
            exit 1
        fi
    done
done
redis-cli --version
