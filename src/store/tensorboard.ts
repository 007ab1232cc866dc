/**
 * Writes TensorBoard event files. A new file for each writer; within it events stand in the order of the calls. The file
 * is made with the first event, so a run without metrics has none. A record that could not be written whole is cut off
 * again. The files hold numbers only and keep the user's own file mode.
 */
import { closeSync, fstatSync, ftruncateSync, mkdirSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { onDisk } from "../system/disk-error.js";
import { PRIVATE_FOLDER } from "./durable.js";
import { fileVersionEvent, scalarsEvent, sessionStartEvent, textEvent } from "./event-message.js";
import { frameRecord } from "./tfrecord.js";

const MS_PER_SECOND = 1_000;
const STAMP_DIGITS = 10;

export class TensorBoardWriter {
  private static opened = 0;
  private descriptor: number | null = null;
  /** Bytes of whole records. */
  private written = 0;

  constructor(
    private readonly folder: string,
    /** Wall clock, ms. */
    private readonly clock: () => number,
  ) {}

  scalars(step: number, values: Readonly<Record<string, number>>): void {
    this.write(scalarsEvent(this.seconds(), step, values));
  }

  text(step: number, name: string, value: string): void {
    this.write(textEvent(this.seconds(), step, name, value));
  }

  /** The run continues from before this step: readers drop it and later steps. */
  restartAt(step: number): void {
    this.write(sessionStartEvent(this.seconds(), step));
  }

  close(): void {
    if (this.descriptor !== null) closeSync(this.descriptor);
    this.descriptor = null;
  }

  private seconds(): number {
    return this.clock() / MS_PER_SECOND;
  }

  private write(event: Uint8Array): void {
    onDisk(this.folder, () => {
      if (this.descriptor === null) {
        mkdirSync(this.folder, { recursive: true, mode: PRIVATE_FOLDER });
        // Readers take files in the order of their names, so time comes first, then a count within this process.
        const stamp = String(Math.floor(this.seconds())).padStart(STAMP_DIGITS, "0");
        const count = String(TensorBoardWriter.opened++).padStart(4, "0");
        const name = `events.out.tfevents.${stamp}.${hostname()}.${process.pid}.${count}`;
        this.descriptor = openSync(join(this.folder, name), "a");
        this.written = fstatSync(this.descriptor).size;
        this.record(this.descriptor, fileVersionEvent(this.seconds()));
      }
      this.record(this.descriptor, event);
    });
  }

  private record(descriptor: number, event: Uint8Array): void {
    const framed = frameRecord(event);
    try {
      for (let done = 0; done < framed.length; ) done += writeSync(descriptor, framed, done);
      this.written += framed.length;
    } catch (error) {
      ftruncateSync(descriptor, this.written);
      throw error;
    }
  }
}
