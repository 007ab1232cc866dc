/** Any Chromium or Chrome for the page's tests; where there is none they are left out, with one line that says so. */
import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const CANDIDATES = [
  process.env.WEIR_CHROMIUM,
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/usr/bin/google-chrome-stable",
  "/opt/google/chrome/chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

const executablePath = CANDIDATES.find((path) => path !== undefined && existsSync(path));
export const hasBrowser = executablePath !== undefined;

/** Says once per file that the browser tests are left out. */
export function sayWhenMissing(what: string): void {
  if (!hasBrowser)
    process.stdout.write(`${what}: left out, no Chromium or Chrome was found (WEIR_CHROMIUM names one)\n`);
}

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: executablePath ?? "",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
  });
}
