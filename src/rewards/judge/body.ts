/** Reads a server's answer up to a limit. */

/**
 * The text of a body of at most `limit` bytes after decompression; null where it is longer, and the rest is not read.
 * Rejects as the body does: broken connection, abort.
 */
export async function boundedText(response: Response, limit: number): Promise<string | null> {
  if (response.body === null) return "";
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let text = "";
  for (let size = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return text + decoder.decode();
    size += value.byteLength;
    if (size > limit) {
      void reader.cancel().catch(() => {});
      return null;
    }
    text += decoder.decode(value, { stream: true });
  }
}
