/** Writes protocol buffers: just the wire format, no schema. Field numbers stand where the messages are built. */

/** One message under construction. */
export class WireMessage {
  private readonly bytes: number[] = [];
  private readonly chunks: Uint8Array[] = [];

  private flush(): void {
    if (this.bytes.length === 0) return;
    this.chunks.push(Uint8Array.from(this.bytes));
    this.bytes.length = 0;
  }

  /** Base-128 varint; negative numbers as 64-bit two's complement. */
  private varint(value: number | bigint): void {
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest >= 128n) {
      this.bytes.push(Number(rest & 127n) | 128);
      rest >>= 7n;
    }
    this.bytes.push(Number(rest));
  }

  integer(field: number, value: number | bigint): this {
    this.varint(field * 8);
    this.varint(value);
    return this;
  }

  boolean(field: number, value: boolean): this {
    return this.integer(field, value ? 1 : 0);
  }

  /** 32-bit float. */
  float(field: number, value: number): this {
    this.varint(field * 8 + 5);
    this.bytes.push(...new Uint8Array(Float32Array.of(value).buffer));
    return this;
  }

  data(field: number, value: Uint8Array): this {
    this.varint(field * 8 + 2);
    this.varint(value.length);
    this.flush();
    this.chunks.push(value);
    return this;
  }

  text(field: number, value: string): this {
    return this.data(field, new TextEncoder().encode(value));
  }

  message(field: number, value: WireMessage): this {
    return this.data(field, value.finish());
  }

  finish(): Uint8Array {
    this.flush();
    return Buffer.concat(this.chunks);
  }
}

/** One entry of a map<string, message> field. */
export function mapEntry(key: string, value: WireMessage): WireMessage {
  return new WireMessage().text(1, key).message(2, value);
}
