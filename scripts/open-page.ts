/**
 * Opens a page in Chromium and prints the first text that appears at a selector; left out, with a line that says so, where there is
 * no Chromium. Usage: node --import tsx scripts/open-page.ts URL SELECTOR
 */
import { hasBrowser, launchBrowser, sayWhenMissing } from "../tests/helpers/browser.js";

/** A page on this computer is there in a second; a loaded machine is slower. */
const APPEARS_MS = 40_000;

const [url = "", selector = ""] = process.argv.slice(2);
sayWhenMissing(url);
if (hasBrowser) {
  const browser = await launchBrowser();
  try {
    const page = await browser.newPage();
    await page.goto(url);
    console.log(await page.locator(selector).first().textContent({ timeout: APPEARS_MS }));
  } finally {
    await browser.close();
  }
}
