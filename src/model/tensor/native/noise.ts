/**
 * Owns which of TensorFlow's start-up lines on stderr are dropped: they are printed before TensorFlow reads its log level,
 * so no environment variable suppresses them.
 */
const NOISE = [
  /^WARNING: All log messages before absl::InitializeLog\(\) is called are written to STDERR$/,
  /oneDNN custom operations are on\./,
  /This TensorFlow binary is optimized to use available CPU instructions/,
  /To enable the following instructions: .* rebuild TensorFlow with the appropriate compiler flags/,
  /MLIR V1 optimization pass is not enabled/,
];

/** True for a stderr line of an engine process that says nothing of use. */
export function isTensorflowNoise(line: string): boolean {
  return NOISE.some((pattern) => pattern.test(line.trim()));
}
