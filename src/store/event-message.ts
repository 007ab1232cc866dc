/**
 * The few protocol-buffer messages of TensorBoard event files: Event, Summary with scalar or text values, SessionLog.
 * Field numbers are those of tensorflow/core/util/event.proto, summary.proto and tensor.proto.
 */
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
/** tensorflow.DataType.DT_STRING */
const DT_STRING = 7;
/** tensorflow.SessionLog.SessionStatus.START */
const SESSION_START = 1;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt(value);
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return bytes;
}

const tag = (field: number, type: number): number[] => varint(field * 8 + type);

function fixed(field: number, type: typeof FIXED32 | typeof FIXED64, value: number): Uint8Array {
  const bytes = new Uint8Array(type === FIXED64 ? 8 : 4);
  const view = new DataView(bytes.buffer);
  if (type === FIXED64) view.setFloat64(0, value, true);
  else view.setFloat32(0, value, true);
  return Buffer.concat([Buffer.from(tag(field, type)), bytes]);
}

const integer = (field: number, value: number): Uint8Array => Buffer.from([...tag(field, VARINT), ...varint(value)]);

function nested(field: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  return Buffer.concat([Buffer.from(tag(field, BYTES)), Buffer.from(varint(content.length)), content]);
}

const text = (field: number, value: string): Uint8Array => nested(field, Buffer.from(value, "utf8"));

/** Event { wall_time: 1, step: 2, … }; seconds since 1970. */
const event = (seconds: number, step: number, content: Uint8Array): Uint8Array =>
  Buffer.concat([fixed(1, FIXED64, seconds), integer(2, step), content]);

/** First event of a file: Event.file_version. */
export function fileVersionEvent(seconds: number): Uint8Array {
  return event(seconds, 0, text(3, "brain.Event:2"));
}

/** Event.session_log with status START: a reader drops this step and later ones. */
export function sessionStartEvent(seconds: number, step: number): Uint8Array {
  return event(seconds, step, nested(7, integer(1, SESSION_START)));
}

/** Event.summary with one simple_value per name. */
export function scalarsEvent(seconds: number, step: number, values: Readonly<Record<string, number>>): Uint8Array {
  const summaries = Object.entries(values).map(([name, value]) => nested(1, text(1, name), fixed(2, FIXED32, value)));
  return event(seconds, step, nested(5, ...summaries));
}

/** Event.summary with one text value, as the text plug-in reads it: a string tensor of shape [1]. */
export function textEvent(seconds: number, step: number, name: string, value: string): Uint8Array {
  const metadata = nested(9, nested(1, text(1, "text")));
  const tensor = nested(8, integer(1, DT_STRING), nested(2, nested(2, integer(1, 1))), text(8, value));
  return event(seconds, step, nested(5, nested(1, text(1, name), tensor, metadata)));
}
