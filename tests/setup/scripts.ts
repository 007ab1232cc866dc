/** Typed doors to the plain modules under setup/ and scripts/, for the set-up's tests. */
import { pathToFileURL } from "node:url";

/** Loads a module by its path below the repository. */
export async function loadScript<T>(path: string): Promise<T> {
  return (await import(pathToFileURL(new URL(`../../${path}`, import.meta.url).pathname).href)) as T;
}

export interface Manifest {
  readonly [field: string]: unknown;
}

export interface PathsModule {
  readonly MANIFEST_SCHEMA: number;
  readonly TFJS_VERSION: string;
  cacheRoot(env: Record<string, string | undefined>): string;
  nativeKey(parts: Record<string, unknown>): string;
  compareVersions(a: string, b: string): number;
  requiredFiles(): string[];
  findEngines(options: { env: Record<string, string>; platform?: string; arch?: string }): {
    readonly directory: string;
    readonly manifest: Manifest;
  }[];
}
