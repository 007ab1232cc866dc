/**
 * A run that only keeps books: each step issues, generates, scores and trains four rollouts and commits; every second
 * step writes a checkpoint. It goes on from the latest checkpoint. One line on stdout per event, for the parent to kill by.
 * With HOLD it stops for good after that many parts of its first checkpoint, for the parent to kill it there.
 * Usage: writer.ts DIRECTORY STEPS [HOLD]
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RunFolder } from "../../../src/store/run-folder.js";
import { COMMITTED, RESUMED } from "../../helpers/facts.js";

const [directory = "", steps = "0", hold = "0"] = process.argv.slice(2);
const ROLLOUTS = 4;
const CHECKPOINT_EVERY = 2;

const say = (line: string) => process.stdout.write(`${line}\n`);
const forever = () => new Promise(() => setInterval(() => undefined, 60_000));
const folder = await RunFolder.open(directory, { keep: 2 });
const latest = await folder.latest();
await folder.rollBack(latest?.state ?? null);
const first = (latest?.step ?? 0) + 1;
folder.append("run.resumed", first - 1, RESUMED);
for (let step = first; step <= Number(steps); step++) {
  for (let i = 0; i < ROLLOUTS; i++) {
    const rollout = {
      rolloutId: `${step}:${i}`,
      groupId: `${step}`,
      taskId: "t",
      phase: 1,
      step,
      policyVersion: step - 1,
    };
    for (const state of ["issued", "generated", "scored", "trained"] as const) {
      folder.ledger({ ...rollout, state });
      say(state);
      // One turn of the event loop, as every real stage takes: lets the ledger's buffer go out in pieces.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  folder.append("step.committed", step, { ...COMMITTED, sha256: "x".repeat(2_000) });
  say("committed");
  if (step % CHECKPOINT_EVERY !== 0) continue;
  const trained = folder.ledgerCounts().trained;
  await folder.checkpoint(
    step,
    async (draft) => {
      await mkdir(join(draft, "model"));
      for (let part = 0; part < 4; part++) {
        await writeFile(join(draft, "model", `part-${part}.bin`), Buffer.alloc(100_000, step));
        say("part");
        if (part + 1 === Number(hold)) await forever();
      }
    },
    { step, trained },
  );
  say("checkpoint");
}
await folder.close();
say("done");
