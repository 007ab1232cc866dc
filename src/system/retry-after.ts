/** Milliseconds of a Retry-After header, given in seconds or as a date (`now`: ms since 1970); null for anything else. */
export function retryAfterMs(header: string | null, now: number = Date.now()): number | null {
  const text = header?.trim() ?? "";
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const date = /^[A-Z][a-z]{2,8}, \d.* GMT$/.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}
