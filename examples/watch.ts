// Watches a live run from another process: rewards, alerts, and one sampled answer per step. Ends with the run.
// Usage: node watch.js http://127.0.0.1:PORT   (the address that `weir train` prints)
import { connectMonitor } from "weir-rl/monitor";

const [address] = process.argv.slice(2);
if (address === undefined) throw new Error("usage: node watch.js http://127.0.0.1:PORT");
const client = connectMonitor(address, { onState: (state) => console.log("connection:", state.kind) });
await client.ready();
let tracedStep = -1;
client.subscribe("alerts", (event) => {
  if (event.kind === "delta") for (const alert of event.items) console.log(`alert: ${alert.text}`);
});
client.subscribe("traces", (event) => {
  const trace = event.kind === "delta" ? event.items.at(-1) : undefined;
  if (!trace || trace.step === tracedStep) return;
  tracedStep = trace.step;
  console.log(`step ${trace.step} answered: …${trace.excerpt.slice(-80)} (reward ${trace.reward})`);
});
client.subscribe("metrics", (event) => {
  if (event.kind !== "delta") return;
  for (const { step, values } of event.items)
    if (values["reward/mean"] !== undefined) console.log(`step ${step}: reward ${values["reward/mean"].toFixed(3)}`);
});
for await (const event of client.events("run")) {
  const ended =
    event.kind !== "gap" && event.items.some((run) => ["completed", "stopped", "failed"].includes(run.status));
  if (ended) break;
}
client.close();
