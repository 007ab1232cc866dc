/**
 * Writes TensorBoard event files. A new file for each writer; within it events stand in the order of the calls. The file
 * is made with the first event, so a run without metrics has none.
 */
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { fileVersionEvent, scalarsEvent, sessionStartEvent, textEvent } from "./event-message.js";
import { frameRecord } from "./tfrecord.js";

const MS_PER_SECOND = 1_000;
const STAMP_DIGITS = 10;

export class TensorBoardWriter {
  private static opened = 0;
  private descriptor: number | null = null;

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

  /** The run goes on from before this step: readers drop what they have of it and of later steps. */
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
    if (this.descriptor === null) {
      mkdirSync(this.folder, { recursive: true });
      // Readers take files in the order of their names, so time comes first, then a count within this process.
      const stamp = String(Math.floor(this.seconds())).padStart(STAMP_DIGITS, "0");
      const count = String(TensorBoardWriter.opened++).padStart(4, "0");
      const name = `events.out.tfevents.${stamp}.${hostname()}.${process.pid}.${count}`;
      this.descriptor = openSync(join(this.folder, name), "a");
      writeSync(this.descriptor, frameRecord(fileVersionEvent(this.seconds())));
    }
    writeSync(this.descriptor, frameRecord(event));
  }
}
