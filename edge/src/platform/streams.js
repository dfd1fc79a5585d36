// What is too long to be held: its SHA-2, computed while it passes, or nothing at all.
export async function digest(algorithm, stream) {
  const hashing = new crypto.DigestStream(algorithm);
  await stream.pipeTo(hashing);
  return new Uint8Array(await hashing.digest);
}

export async function drain(stream) {
  for await (const _ of stream);
}
