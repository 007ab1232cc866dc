/** Colours that the canvas needs; the style sheet has the others. Okabe–Ito hues, distinguishable for colour-blind readers, contrast ≥ 3:1. */

export interface Palette {
  readonly series: readonly string[];
  readonly ground: string;
  readonly text: string;
  readonly axis: string;
  readonly grid: string;
  readonly bands: readonly [string, string];
  readonly bandLabel: string;
  readonly marks: { readonly info: string; readonly warn: string; readonly error: string };
  readonly checkpoint: string;
}

export const LIGHT: Palette = {
  series: ["#0068b5", "#b86a00", "#00805c", "#c4432b", "#8a55a8", "#3689bd", "#6b6b00", "#a03a6b"],
  ground: "#ffffff",
  text: "#17212b",
  axis: "#5a6672",
  grid: "#e6eaee",
  bands: ["rgba(36, 99, 158, 0.045)", "rgba(36, 99, 158, 0.105)"],
  bandLabel: "#5a6f85",
  marks: { info: "#3689bd", warn: "#c26a00", error: "#c22f2f" },
  checkpoint: "#7d8a97",
};

export const DARK: Palette = {
  series: ["#5db2f5", "#f0ad4e", "#3fcf9f", "#ff8066", "#c79be6", "#9ad1f5", "#d6d36a", "#ef9ac1"],
  ground: "#141b23",
  text: "#e3eaf1",
  axis: "#98a6b5",
  grid: "#222b35",
  bands: ["rgba(110, 180, 255, 0.04)", "rgba(110, 180, 255, 0.10)"],
  bandLabel: "#8ba3bb",
  marks: { info: "#6fb7e8", warn: "#f0ad4e", error: "#ff6b6b" },
  checkpoint: "#7b8997",
};

/** The series colour with transparency, as `#rrggbbaa`. */
export function faded(colour: string, alpha: number): string {
  return `${colour}${Math.round(alpha * 255)
    .toString(16)
    .padStart(2, "0")}`;
}

/** Dashes that tell runs apart; the page's own run is solid. Lengths in pixels. */
export const DASHES: readonly (readonly number[])[] = [[], [7, 4], [2, 3], [9, 3, 2, 3], [4, 2], [12, 4]];
export const UNDONE_DASH: readonly number[] = [2, 2];
