/**
 * Completes package-lock.json: where the registry in use serves the packages of one platform only, npm leaves optional
 * packages of the other platforms out, and `npm ci` then fails everywhere. They are added with the version that their
 * parent pins and the platform that their name says; npm skips them where they do not fit.
 * Usage: node scripts/lockfile.mjs [--check]
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SYSTEMS = ["aix", "android", "darwin", "freebsd", "linux", "netbsd", "openbsd", "openharmony", "sunos", "win32"];
const PROCESSORS = ["arm64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "wasm32", "x64"];

/** `{ os, cpu, libc }` that a platform package's name stands for, e.g. binding-linux-arm-musleabihf. */
export function platformOf(name) {
  const words = name.split(/[-/@]/);
  const os = words.filter((word) => SYSTEMS.includes(word));
  const cpu = words.filter((word) => PROCESSORS.includes(word));
  if (/(^|\/)fsevents$/.test(name)) os.push("darwin");
  const libc = words.some((word) => word.startsWith("musl"))
    ? ["musl"]
    : words.some((word) => word.startsWith("gnu"))
      ? ["glibc"]
      : [];
  return {
    ...(cpu.length > 0 ? { cpu } : {}),
    ...(libc.length > 0 && os.includes("linux") ? { libc } : {}),
    ...(os.length > 0 ? { os } : {}),
  };
}

/**
 * The lockfile with the optional packages that are missing, and their names.
 * @param {{ packages: Record<string, any> }} lock
 */
export function completeLock(lock) {
  const packages = { ...lock.packages };
  const added = [];
  for (const [path, entry] of Object.entries(lock.packages)) {
    for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
      if (resolves(packages, path, name)) continue;
      const platform = platformOf(name);
      // Without a platform npm would try to install it here; such a package is no platform build.
      if (!platform.os && !platform.cpu) continue;
      packages[`node_modules/${name}`] = {
        version: range.replace(/^[~^]/, ""),
        ...(platform.cpu ? { cpu: platform.cpu } : {}),
        ...(entry.dev ? { dev: true } : {}),
        ...(platform.libc ? { libc: platform.libc } : {}),
        optional: true,
        ...(platform.os ? { os: platform.os } : {}),
      };
      added.push(name);
    }
  }
  const sorted = Object.fromEntries(Object.entries(packages).sort(([a], [b]) => a.localeCompare(b, "en")));
  return { lock: { ...lock, packages: sorted }, added };
}

/** Whether `name`, needed by the package at `path`, is found there or in a folder above. */
function resolves(packages, path, name) {
  let at = path;
  for (;;) {
    if (packages[at === "" ? `node_modules/${name}` : `${at}/node_modules/${name}`]) return true;
    if (at === "") return false;
    at = at.includes("/node_modules/") ? at.slice(0, at.lastIndexOf("/node_modules/")) : "";
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const root = dirname(dirname(fileURLToPath(import.meta.url)));
  for (const file of ["package-lock.json", join("setup", "tensorflow", "package-lock.json")]) {
    const { lock, added } = completeLock(JSON.parse(readFileSync(join(root, file), "utf8")));
    if (added.length === 0) continue;
    if (process.argv.includes("--check")) {
      process.stderr.write(`${file} lacks ${added.join(", ")}; run \`node scripts/lockfile.mjs\`\n`);
      process.exitCode = 1;
    } else {
      writeFileSync(join(root, file), `${JSON.stringify(lock, null, 2)}\n`);
      process.stderr.write(`${file}: added ${added.join(", ")}\n`);
    }
  }
}
