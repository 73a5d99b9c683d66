/** Return a unique id: 128 random bits. */
export function newId(prefix: string): string {
  // `crypto.randomUUID` is missing when a notebook server is reached by plain HTTP.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return prefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
