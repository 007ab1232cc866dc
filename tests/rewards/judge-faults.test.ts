import { afterEach, describe, expect, it, vi } from "vitest";
import {
  askThrough,
  CONCURRENCY,
  kindsOf,
  ORDEAL_KEY,
  ordealJudge,
  ordealQuery,
  startFaultyServer,
} from "./judge-ordeal.js";
import { JudgeServer, silence } from "./judge-server.js";

let server: JudgeServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

describe("a judge's server of which nine in ten answers are faulty", () => {
  it("gives right verdicts or none, within the bounds, and never shows the key", async () => {
    const faulty = await startFaultyServer();
    server = faulty.server;
    const judge = ordealJudge(server.url);
    const { verdicts, wrong, mostOpen } = await askThrough(judge, server, 80);
    const kinds = kindsOf(verdicts);
    expect(wrong).toBe(0);
    expect(verdicts).toHaveLength(80);
    expect(kinds.verdict).toBeGreaterThan(10);
    expect(kinds.failed).toBeGreaterThan(10);
    // The server hears of a cancelled request only after the client has begun another.
    expect(mostOpen).toBeLessThan(1.5 * CONCURRENCY);
    expect(JSON.stringify(verdicts)).not.toContain(ORDEAL_KEY);
    await vi.waitFor(() => expect(server?.open).toBe(0));
    await judge.dispose?.();
  });

  it("is left alone within a second of a stop, whatever it was doing", async () => {
    server = await JudgeServer.start(silence);
    const judge = ordealJudge(server.url, { timeoutMs: 60_000 });
    const stop = new AbortController();
    const asked = Array.from({ length: 300 }, (_, n) => judge.ask(ordealQuery(n), { signal: stop.signal }));
    await server.received(CONCURRENCY);
    const [started, cpu] = [performance.now(), process.cpuUsage()];
    stop.abort();
    const verdicts = await Promise.all(asked);
    await vi.waitFor(() => expect(server?.open).toBe(0), { interval: 5 });
    const { user, system } = process.cpuUsage(cpu);
    // Of a machine that does other work as well, the time that this process had counts.
    expect(Math.min(performance.now() - started, (user + system) / 1000)).toBeLessThan(1_000);
    expect(kindsOf(verdicts)).toEqual({ verdict: 0, timedOut: 0, failed: 300 });
    expect(server.seen).toHaveLength(CONCURRENCY);
    await judge.dispose?.();
  });
});
