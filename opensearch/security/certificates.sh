#!/bin/sh
# sh certificates.sh AUTHORITY_FOLDER NODE_FOLDER NAME...: an authority of one's own, and the certificate that it gives
# to a node of these names. The authority's key exists for as long as this runs. What is there already stays; a node's
# certificate that ends within 30 days is made again, with its authority, and both sides must be restarted then.
set -eu
umask 077
authority=$1 node=$2
shift 2

month=2592000
if [ -s "$authority/ca.pem" ] && [ -s "$node/node.key" ] \
    && openssl x509 -in "$node/node.pem" -noout -checkend "$month" >/dev/null \
    && openssl verify -CAfile "$authority/ca.pem" "$node/node.pem" >/dev/null; then
  echo "The certificates are there."
  exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
names=DNS:localhost,IP:127.0.0.1
for name in "$@"; do names=DNS:$name,$names; done

openssl req -x509 -newkey rsa:3072 -nodes -days 730 -sha256 -subj "/O=dar-search/CN=authority" \
  -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
  -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
openssl req -newkey rsa:3072 -nodes -sha256 -subj "/O=dar-search/CN=$1" \
  -keyout "$work/node.key" -out "$work/node.csr" 2>/dev/null
{
  echo "subjectAltName=$names"
  echo "basicConstraints=critical,CA:FALSE"
  echo "keyUsage=critical,digitalSignature,keyEncipherment"
  echo "extendedKeyUsage=serverAuth,clientAuth"
} > "$work/extensions"
openssl x509 -req -in "$work/node.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 700 -sha256 \
  -extfile "$work/extensions" -out "$work/node.pem" 2>/dev/null
openssl verify -CAfile "$work/ca.pem" "$work/node.pem" >/dev/null

# The node's key is PKCS #8 already. What everybody may read is readable; the key is the node's alone.
cp "$work/node.key" "$node/node.key"
cp "$work/node.pem" "$work/ca.pem" "$node"
cp "$work/ca.pem" "$authority/ca.pem"
chmod 644 "$node/node.pem" "$node/ca.pem" "$authority/ca.pem"
chmod 600 "$node/node.key"
echo "Made an authority and a certificate for $names."
