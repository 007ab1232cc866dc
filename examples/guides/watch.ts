// Watches a live run from another process, pauses it once, lets it go on, and stops it after a given step.
// Usage: node out/watch.js http://127.0.0.1:PORT STEP   (a token, where the monitor wants one, in WEIR_MONITOR_TOKEN)
import { connectMonitor } from "weir-rl/monitor";

const [address, lastStep] = process.argv.slice(2);
if (address === undefined) throw new Error("usage: node out/watch.js http://127.0.0.1:PORT STEP");
const token = process.env.WEIR_MONITOR_TOKEN;
const client = connectMonitor(address, {
  name: "guide",
  onState: (state) => console.log(state.kind === "lost" ? `lost (${state.reason}), trying again` : state.kind),
  ...(token === undefined ? {} : { token }),
});
const { role, run } = await client.ready();
console.log(`watching ${run?.id} as ${role}`);

client.subscribe("metrics", (event) => {
  if (event.kind === "gap") return;
  for (const { step, values } of event.items) {
    if (values["reward/mean"] !== undefined) console.log(`step ${step}: reward ${values["reward/mean"].toFixed(3)}`);
    if (step === Number(lastStep)) client.command("stop");
  }
});
client.subscribe("alerts", (event) => {
  if (event.kind !== "gap") for (const alert of event.items) console.log(`${alert.level}: ${alert.text}`);
});

if (role === "operator") {
  const { ack, effect } = client.command("pause");
  const { accepted, reason } = await ack;
  console.log(accepted ? (await effect).text : `refused: ${reason}`);
  console.log((await client.command("resume").effect).text);
}

for await (const event of client.events("run")) {
  const ended =
    event.kind !== "gap" && event.items.some(({ status }) => ["completed", "stopped", "failed"].includes(status));
  if (ended) break;
}
client.close();
