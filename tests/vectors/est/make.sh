#!/usr/bin/env bash
# Makes the frozen vectors of the tests beside it with OpenSSL: CAs with the habits of a hospital's, and answers of an EST server.
# Not run by the tests. Writes into the folder where it lies.
set -euo pipefail
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

ec() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:"${2:-P-256}" -out "$work/$1.key"; }
# name, subject, more arguments
root() { openssl req -x509 -new -key "$work/$1.key" -subj "$2" -days 36500 -out "$work/$1.pem" "${@:3}"; }
# name, issuer, extensions (lines), more arguments
issue() {
    printf '%b' "$3" >"$work/$1.ext"
    openssl req -new -key "$work/$1.key" -subj "/O=St. Elsewhere/CN=$1" |
        openssl x509 -req -CA "$work/$2.pem" -CAkey "$work/$2.key" -CAcreateserial -days 36400 \
            -extfile "$work/$1.ext" -out "$work/$1.pem" "${@:4}" 2>/dev/null
}
# The answer of a server: base64 of a PKCS#7 message with these certificates
answer() {
    local out=$1
    shift
    local certificates=()
    for name in "$@"; do certificates+=(-certfile "$work/$name.pem"); done
    openssl crl2pkcs7 -nocrl "${certificates[@]}" -outform DER | openssl base64 >"$out"
}

# As OpenSSL makes a root by itself: SHA-1 key identifiers, a serial number of 20 bytes, no path length, no key usage but what is asked.
usage="keyUsage=keyCertSign,cRLSign,digitalSignature"
ec root
root root "/O=St. Elsewhere/CN=Root" -sha256 -addext "$usage"
ec between
issue between root "basicConstraints=critical,CA:TRUE\n$usage\ncrlDistributionPoints=URI:http://pki.example/root.crl\n\
subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always,issuer:always\n" -sha256
site="basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n\
authorityKeyIdentifier=keyid\n"
ec site
issue site root "$site" -sha256
ec site-below
issue site-below between "$site" -sha256
ec rsa-root
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$work/rsa-root.key" 2>/dev/null
root rsa-root "/O=St. Elsewhere/CN=RSA root" -sha256 -addext "$usage"
cp "$work/site.key" "$work/site-of-rsa.key"
issue site-of-rsa rsa-root "$site" -sha256
ec p384-root P-384
root p384-root "/O=St. Elsewhere/CN=P-384 root" -sha384 -addext "$usage"
ec constrained
issue constrained root "basicConstraints=critical,CA:TRUE\n$usage\nnameConstraints=critical,permitted;DNS:example\n\
subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n" -sha256
cp "$work/site.key" "$work/site-of-constrained.key"
issue site-of-constrained constrained "$site" -sha256

for key in site site-below; do openssl pkcs8 -topk8 -nocrypt -in "$work/$key.key" -outform DER | openssl base64 >"$key.pkcs8"; done
for name in root rsa-root p384-root; do
    openssl x509 -in "$work/$name.pem" -noout -fingerprint -sha256 | tr -d : | cut -d= -f2 | tr A-F a-f >"$name.sha256"
done
answer cacerts root between
answer site site
answer site-below site-below
answer rsa rsa-root site-of-rsa
answer p384 p384-root
answer constrained constrained site-of-constrained
openssl cms -sign -nodetach -binary -in "$work/site.pem" -signer "$work/root.pem" -inkey "$work/root.key" -outform DER |
    openssl base64 >signed
