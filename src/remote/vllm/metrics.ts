/** The values of a Prometheus text by the names of their metrics; those of several label sets are added up. */
export function metricsOf(text: string): ReadonlyMap<string, number> {
  const values = new Map<string, number>();
  for (const line of text.split("\n")) {
    const found = /^([A-Za-z_:][\w:]*)(?:\{.*\})?\s+(\S+)/.exec(line);
    const value = Number(found?.[2]);
    if (found?.[1] !== undefined && Number.isFinite(value)) values.set(found[1], (values.get(found[1]) ?? 0) + value);
  }
  return values;
}
