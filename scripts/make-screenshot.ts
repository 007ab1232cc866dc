import { existsSync } from "node:fs";
import { chromium } from "playwright-core";
import { openTarget } from "../src/cli/monitor-target.js";

/**
 * Takes a picture of the monitor's page for a run, live or past.
 * Usage: tsx scripts/make-screenshot.ts RUN OUT.png [--dark] [--phone] [--alarm]; needs a built page and Chromium (WEIR_CHROMIUM names
 * another). `--alarm` opens the top culprit of the newest alarm, else the second trace of the list is opened.
 */
const [run, out, ...flags] = process.argv.slice(2);
if (!run || !out) {
  process.stderr.write("usage: tsx scripts/make-screenshot.ts RUN OUT.png [--dark] [--phone] [--alarm]\n");
  process.exit(2);
}

const executablePath = process.env.WEIR_CHROMIUM ?? "/usr/bin/chromium";
if (!existsSync(executablePath)) throw new Error(`expected a browser at ${executablePath}; name one in WEIR_CHROMIUM`);

const target = await openTarget(run);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({
  viewport: flags.includes("--phone") ? { width: 390, height: 2400 } : { width: 1480, height: 1760 },
  colorScheme: flags.includes("--dark") ? "dark" : "light",
});
await page.goto(target.url);
await page.locator(".connection.live").waitFor();
await page.locator(".uplot").first().waitFor();
const culprit = page.locator(".culprits button").first();
const row = flags.includes("--alarm") && (await culprit.count()) ? culprit : page.locator(".list tbody tr").nth(1);
if (await row.count()) {
  await row.click();
  await page.getByTestId("trace-detail").waitFor();
}
// The click may have scrolled.
await page.evaluate(() => window.scrollTo(0, 0));
await page.screenshot({ path: out });
await browser.close();
await target.close();
