/**
 * What the streams and subjects of a run are called on a NATS server. Everything of a run begins with its name, so that several runs
 * share a server.
 */

const META = /^WEIR_(.+)_META$/;

/** A run's name with nothing in it that NATS takes for a separator. */
export function subjectName(run: string): string {
  return run.replaceAll(/[^A-Za-z0-9_-]/g, "_");
}

export function streamsOf(run: string) {
  const name = subjectName(run);
  return {
    tasks: { stream: `WEIR_${name}_TASKS`, subject: `weir.${name}.tasks` },
    results: { stream: `WEIR_${name}_RESULTS`, subject: `weir.${name}.results` },
    dead: { stream: `WEIR_${name}_DEAD`, subject: `weir.${name}.dead` },
    meta: { stream: `WEIR_${name}_META`, subject: `weir.${name}.meta` },
    policies: { stream: `WEIR_${name}_POLICIES`, subject: `weir.${name}.policies` },
    /** Object stores: what is too large for a message, and the files of policies. */
    blobs: `weir_${name}_blobs`,
    files: `weir_${name}_policies`,
  } as const;
}

/** The run that a stream belongs to, by the stream that each run has; null for any other. */
export function runOfStream(stream: string): string | null {
  return META.exec(stream)?.[1] ?? null;
}
