/** Numbers and times as the page writes them: short, aligned, with a true minus sign. */

/** Three significant digits; k, M, G beyond thousands; exponents below a thousandth. */
export function formatNumber(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  const text =
    size === 0
      ? "0"
      : size >= 1e9
        ? `${trim(value / 1e9)}G`
        : size >= 1e6
          ? `${trim(value / 1e6)}M`
          : size >= 1e4
            ? `${trim(value / 1e3)}k`
            : size >= 100
              ? value.toFixed(0)
              : size >= 1e-3
                ? trim(value)
                : value.toExponential(1);
  return text.replace("-", "−");
}

export function formatBytes(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit++;
  }
  return `${trim(rest)} ${units[unit]}`;
}

export function formatUnit(value: number | null | undefined, unit: string): string {
  return unit === "bytes" ? formatBytes(value) : formatNumber(value);
}

/** `1:02:03`, `4:05`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const pad = (n: number) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return h > 0 ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

export function formatClock(time: number): string {
  return new Date(time).toLocaleTimeString(undefined, { hour12: false });
}

export function formatPercent(value: number): string {
  return `${(100 * value).toFixed(value === 1 || value === 0 ? 0 : 1)} %`;
}

function trim(value: number): string {
  const text = value.toPrecision(3);
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
}
