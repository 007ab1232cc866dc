/** The built page in a headless browser, for the tests of what a person sees and can do. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { build } from "vite";
import { afterAll, afterEach, beforeAll } from "vitest";
import { type MonitorHub, type RunningMonitor, startMonitor } from "../../monitor/server/index.js";
import { hasBrowser, launchBrowser } from "./browser.js";

export interface OpenPage {
  readonly page: Page;
  readonly monitor: RunningMonitor;
  /** What the page complained of: errors on its console, and those that nobody caught. */
  readonly complaints: readonly string[];
}

/** Builds the page and launches a browser for the tests of a file; what they leave behind is removed after each. */
export class PageTests {
  private built = "";
  private launched: Browser | null = null;
  /** Called after each test, the last one first. */
  readonly cleanups: (() => unknown)[] = [];

  constructor() {
    beforeAll(async () => {
      if (!hasBrowser) return;
      this.built = await mkdtemp(join(tmpdir(), "weir-page-"));
      await build({
        configFile: fileURLToPath(new URL("../../monitor/web/vite.config.ts", import.meta.url)),
        logLevel: "error",
        build: { outDir: this.built, emptyOutDir: true },
      });
      this.launched = await launchBrowser();
    });
    afterAll(async () => {
      await this.launched?.close();
      if (this.built) await rm(this.built, { recursive: true, force: true });
    });
    afterEach(async () => {
      for (const clean of this.cleanups.splice(0).reverse()) await clean();
    });
  }

  /** Folder of the built page. */
  get webRoot(): string {
    return this.built;
  }

  async newPage(): Promise<Page> {
    if (!this.launched) throw new Error("expected a browser");
    const page = await this.launched.newPage({ viewport: { width: 1440, height: 1400 } });
    this.cleanups.push(() => page.close());
    return page;
  }

  /** A folder that is removed after the test. */
  async folder(name: string): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), `weir-${name}-`));
    this.cleanups.push(() => rm(path, { recursive: true, force: true }));
    return path;
  }

  /** The page of a hub, live; `fragment` is what the address says of the view. */
  async open(hub: MonitorHub, fragment = ""): Promise<OpenPage> {
    const monitor = await startMonitor({ source: hub, webRoot: this.built });
    this.cleanups.push(() => monitor.close());
    return { monitor, ...(await this.visit(`${monitor.url}${fragment}`)) };
  }

  /** The page at an address, live. */
  async visit(url: string): Promise<Omit<OpenPage, "monitor">> {
    const page = await this.newPage();
    const complaints: string[] = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.goto(url);
    await page.locator(".connection.live").waitFor();
    return { page, complaints };
  }
}

/** What axe-core finds wrong with the page as it is now, each with the first element it concerns. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe.source);
  const { violations: found } = (await page.evaluate("axe.run()")) as {
    violations: { id: string; nodes: { html: string }[] }[];
  };
  return found.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`);
}
