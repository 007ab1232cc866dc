import type { Sampler } from "../contracts/sampler.js";

/** Several scripted sampler engines behind one sampler: each call goes to one that is free. */

interface Waiting {
  readonly resolve: (member: Sampler) => void;
}

export function createSamplerEngines(members: readonly Sampler[]): Sampler {
  const [first] = members as [Sampler];
  if (members.length === 1) return first;
  const free = [...members];
  const waiting: Waiting[] = [];
  const take = (signal: AbortSignal): Promise<Sampler> => {
    signal.throwIfAborted();
    const member = free.shift();
    if (member !== undefined) return Promise.resolve(member);
    return new Promise((resolve, reject) => {
      const place: Waiting = {
        resolve: (given) => {
          signal.removeEventListener("abort", onAbort);
          resolve(given);
        },
      };
      const onAbort = () => {
        waiting.splice(waiting.indexOf(place), 1);
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      waiting.push(place);
    });
  };
  const give = (member: Sampler) => {
    const next = waiting.shift();
    if (next === undefined) free.push(member);
    else next.resolve(member);
  };
  return {
    ...first,
    async sample(request, options) {
      const member = await take(options.signal);
      try {
        return await member.sample(request, options);
      } finally {
        give(member);
      }
    },
    adopt: async (policy, { signal, inFlight }) => {
      const failed = new AbortController();
      const both = AbortSignal.any([signal, failed.signal]);
      const adopting = members.map((member) => member.adopt(policy, { signal: both, inFlight }));
      await Promise.all(adopting).catch((error) => {
        failed.abort(error);
        throw error;
      });
    },
    release: async () => undefined,
    load: async (options) => {
      const loads = await Promise.all(members.map((member) => member.load(options)));
      const sum = (of: (load: (typeof loads)[number]) => number) => loads.reduce((total, load) => total + of(load), 0);
      const versions = [...new Set(loads.flatMap((load) => load.versions))];
      return { running: sum(({ running }) => running), waiting: waiting.length, cacheUse: null, versions };
    },
  };
}
