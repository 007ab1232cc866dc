/**
 * Owns which lines of TensorFlow's start-up chatter on stderr are no news: they come before TensorFlow reads its log
 * level, so no environment variable keeps them back.
 */
const NOISE = [
  /^WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR$/,
  /oneDNN custom operations are on\./,
  /This TensorFlow binary is optimized to use available CPU instructions/,
  /To enable the following instructions: .* rebuild TensorFlow with the appropriate compiler flags/,
  /MLIR V1 optimization pass is not enabled/,
];

/** True for a stderr line of an engine process that can be dropped without loss. */
export function isTensorflowNoise(line: string): boolean {
  return NOISE.some((pattern) => pattern.test(line.trim()));
}
