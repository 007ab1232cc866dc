/**
 * TFRecord framing: length, masked CRC of the length, data, masked CRC of the data. CRC is CRC-32C (Castagnoli,
 * reflected polynomial 0x82F63B78), masked as TensorFlow does so that CRCs of data that hold CRCs stay useful.
 */
const POLYNOMIAL = 0x82f63b78;
const MASK_DELTA = 0xa282ead8;
const LENGTH_BYTES = 8;
const CRC_BYTES = 4;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C as an unsigned 32-bit number. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (TABLE[(crc ^ byte) & 0xff] as number) ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** TensorFlow's mask: rotate right by 15, add a constant. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + MASK_DELTA) >>> 0;
}

/** One record with its frame. */
export function frameRecord(data: Uint8Array): Uint8Array {
  const framed = new Uint8Array(LENGTH_BYTES + CRC_BYTES + data.length + CRC_BYTES);
  const view = new DataView(framed.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(LENGTH_BYTES, maskedCrc32c(framed.subarray(0, LENGTH_BYTES)), true);
  framed.set(data, LENGTH_BYTES + CRC_BYTES);
  view.setUint32(LENGTH_BYTES + CRC_BYTES + data.length, maskedCrc32c(data), true);
  return framed;
}
