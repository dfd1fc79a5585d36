// SHA-2 of what is too long to be held: computed while it passes.
export async function digest(algorithm, stream) {
  const hashing = new crypto.DigestStream(algorithm);
  await stream.pipeTo(hashing);
  return new Uint8Array(await hashing.digest);
}
