// Ed25519 (RFC 8032) and RSASSA-PSS with SHA-256 (RFC 8017). What is no key throws, and does not fit.
import { Buffer } from "node:buffer";
import { constants, createPublicKey, verify } from "node:crypto";

// SubjectPublicKeyInfo of Ed25519 (RFC 8410) up to the key itself.
const ED25519 = Uint8Array.of(0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00);

const parsed = (der) => createPublicKey({ key: der, type: "spki", format: "der" });

export function fitsEd25519(key, message, signature) {
  const der = new Uint8Array(ED25519.length + key.length);
  der.set(ED25519);
  der.set(key, ED25519.length);
  return verify(null, message, parsed(Buffer.from(der)), signature);
}

export function fitsRsaPss(key, message, signature) {
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  const saltLength = constants.RSA_PSS_SALTLEN_AUTO;
  return verify("sha256", message, { key: parsed(Buffer.from(key)), padding, saltLength }, signature);
}
