// The same in a page: the reward of each step, in the element with the id "rewards".
import { connectMonitor } from "weir-rl/monitor";

const list = document.querySelector("#rewards");
const client = connectMonitor(location.origin, {
  onState: ({ kind }) => {
    document.title = kind;
  },
});
client.subscribe("metrics", (event) => {
  if (event.kind === "gap") return;
  if (event.kind === "snapshot") list?.replaceChildren();
  for (const { step, values } of event.items) {
    const reward = values["reward/mean"];
    if (reward === undefined) continue;
    const item = document.createElement("li");
    item.textContent = `step ${step}: reward ${reward.toFixed(3)}`;
    list?.append(item);
  }
});
