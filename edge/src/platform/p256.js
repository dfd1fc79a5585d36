// P-256 by the platform, at once: WebCrypto would make every caller wait. Keys are read from the instance's memory, and
// imported anew for each call, so that none of them lives on here.
import { createECDH, sign, verify } from "node:crypto";

const HASH = "sha256";
const der = (key, type) => ({ key, type, format: "der" });

export function signWith(key, message) {
  return sign(HASH, message, der(key, "pkcs8"));
}

export function fits(key, message, signature) {
  return verify(HASH, message, der(key, "spki"), signature);
}

// Writes the x coordinate to `shared`; what the platform gave is erased.
export function agree(secret, peer, shared) {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(secret);
  const x = ecdh.computeSecret(peer);
  shared.set(x);
  x.fill(0);
  return x.length;
}
