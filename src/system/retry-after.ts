/** Milliseconds of a Retry-After header given in seconds; null for dates and anything else. */
export function retryAfterMs(header: string | null): number | null {
  return header !== null && /^\d+(\.\d+)?$/.test(header.trim()) ? Number(header) * 1000 : null;
}
