/** Removing folders that hold a trainer's state, or the address of one. */
import { rm } from "node:fs/promises";

/** Asked before such a folder is removed, so that what it names elsewhere can be given up; false leaves the folder for the next time. */
export type MayRemove = (directory: string) => Promise<boolean>;

export const alwaysRemove: MayRemove = () => Promise.resolve(true);

/** Errors: those of the file system. */
export async function removeStateFolder(directory: string, mayRemove: MayRemove): Promise<void> {
  if (await mayRemove(directory)) await rm(directory, { recursive: true, force: true });
}
