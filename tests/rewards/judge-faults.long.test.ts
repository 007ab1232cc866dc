import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
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

const QUESTIONS = 2_000;
const OUTAGE_AT = 1_000;
const OUTAGE_MS = 60_000;
/** Growth of what is in use that 2,000 verdicts and the server's own record of its requests explain. */
const HEAP_GROWTH = 64 * 2 ** 20;

/** Bytes of the heap that are in use after a collection. */
function bytesInUse(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
}

let server: JudgeServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

describe("two thousand questions to a faulty judge, with an outage of a minute", () => {
  it("end in right verdicts or none; it holds during the outage and goes on by itself", async () => {
    const faulty = await startFaultyServer();
    server = faulty.server;
    const judge = ordealJudge(server.url);
    const before = bytesInUse();
    let most = before;
    let during = 0;
    const { verdicts, wrong, mostOpen, requests, seconds, changes } = await askThrough(
      judge,
      server,
      QUESTIONS,
      (n) => {
        if (n % 250 === 0) most = Math.max(most, bytesInUse());
        if (faulty.state.away) during++;
        if (n !== OUTAGE_AT) return;
        faulty.state.away = true;
        setTimeout(() => {
          faulty.state.away = false;
        }, OUTAGE_MS);
      },
    );
    const kinds = kindsOf(verdicts);
    process.stdout.write(
      `judge ordeal: ${JSON.stringify({ kinds, wrong, requests, mostOpen, during, changes: changes.length, seconds: Math.round(seconds), heapMiB: Math.round((most - before) / 2 ** 20) })}\n`,
    );
    expect(verdicts).toHaveLength(QUESTIONS);
    expect(wrong).toBe(0);
    expect(kinds.verdict).toBeGreaterThan(QUESTIONS / 5);
    // The server hears of a cancelled request only after the client has begun another.
    expect(mostOpen).toBeLessThan(1.5 * CONCURRENCY);
    expect(changes.length).toBeGreaterThanOrEqual(2);
    expect(changes.at(-1)).toBe(true);
    expect(seconds).toBeGreaterThan(OUTAGE_MS / 1000);
    // Those in flight when it began, and few more: nothing is given to a judge that is away.
    expect(during).toBeLessThan(200);
    expect(most - before).toBeLessThan(HEAP_GROWTH);
    expect(JSON.stringify(verdicts)).not.toContain(ORDEAL_KEY);
    await vi.waitFor(() => expect(server?.open).toBe(0));
    await judge.dispose?.();
  });

  it("are all cancelled within a second of a stop", async () => {
    server = await JudgeServer.start(silence);
    const judge = ordealJudge(server.url, { timeoutMs: 60_000, groupTimeoutMs: 60_000 });
    const stop = new AbortController();
    const asked = Array.from({ length: QUESTIONS }, (_, n) => judge.ask(ordealQuery(n), { signal: stop.signal }));
    await server.received(CONCURRENCY);
    const [started, cpu] = [performance.now(), process.cpuUsage()];
    stop.abort();
    const verdicts = await Promise.all(asked);
    await vi.waitFor(() => expect(server?.open).toBe(0), { interval: 5 });
    const ms = performance.now() - started;
    const { user, system } = process.cpuUsage(cpu);
    const cpuMs = (user + system) / 1000;
    process.stdout.write(
      `judge ordeal: ${QUESTIONS} questions cancelled in ${Math.round(ms)} ms (CPU ${Math.round(cpuMs)} ms)\n`,
    );
    // Of a machine that does other work as well, the time that this process had counts.
    expect(Math.min(ms, cpuMs)).toBeLessThan(1_000);
    expect(kindsOf(verdicts).failed).toBe(QUESTIONS);
    await judge.dispose?.();
  });
});
