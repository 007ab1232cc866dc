/** The built-in judge over a server passes the suite that judges of one's own pass. */
import { afterAll, describe, it } from "vitest";
import { createOpenAiJudge } from "../../src/rewards/judge/openai-judge.js";
import { ReplyCache } from "../../src/rewards/judge/reply-cache.js";
import { describeJudge } from "../../src/testing.js";
import { JudgeServer, plainOptions, type Reaction, reply } from "../rewards/judge-server.js";

/** A judge that compares what it was sent word for word, and repeats the first answer before its verdict. */
const literal: Reaction = (response, request) => {
  const text = request.body.messages.at(-1)?.content ?? "";
  const [, mark] = /<(data-[0-9a-f]{8})>/.exec(text) ?? [];
  const quoted = text.split(`<${mark}>\n`).map((part) => part.split(`\n</${mark}>`)[0]);
  const equal = quoted[2] === quoted[3];
  reply(`The first answer is "${quoted[2]}"\n${equal ? "[[YES]]" : "[[NO]]"}`)(response, request);
};

const servers: JudgeServer[] = [];
afterAll(async () => {
  for (const server of servers) await server.stop();
});

for (const kept of [false, true]) {
  describe(`the judge over a server, ${kept ? "with" : "without"} a cache`, () => {
    describeJudge({
      create: async () => {
        const server = await JudgeServer.start(literal);
        servers.push(server);
        const cache = kept ? new ReplyCache({ directory: null, maxBytes: 1 << 20 }) : null;
        return createOpenAiJudge({ ...plainOptions(server.url), cache });
      },
      framework: { describe, it },
    });
  });
}
