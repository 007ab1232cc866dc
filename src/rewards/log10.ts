/**
 * A base-10 logarithm whose bits agree with the C library that the released rule runs on.
 *
 * The rule asks whether a difference of logarithms is exactly an integer, so one unit in the last place decides a reward,
 * and JavaScript engines differ there from C by one unit in about 0.7 % of arguments. The formula is that of fdlibm
 * (`e_log10.c`, which both use), with a natural logarithm of the reduced argument that is rounded correctly.
 */

const LOG10_2_HIGH = 0.30102999566361177;
const LOG10_2_LOW = 3.694239077158931e-13;

/** Fraction bits of the fixed-point logarithm: twice the precision of a double, so that rounding is right. */
const BITS = 112n;
const ONE = 1n << BITS;

/** log10(x) for finite x > 0; everything else as Math.log10. */
export function log10(x: number): number {
  if (!(x > 0) || !Number.isFinite(x) || x < 2.2250738585072014e-308) return Math.log10(x);
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, x);
  const head = view.getUint32(0);
  const exponent = (head >>> 20) - 1023;
  const negative = exponent < 0 ? 1 : 0;
  view.setUint32(0, (head & 0xfffff) | ((0x3ff - negative) << 20));
  const y = exponent + negative;
  const z = y * LOG10_2_LOW + Math.LOG10E * naturalLog(view.getFloat64(0));
  return z + y * LOG10_2_HIGH;
}

/** ln(z) for z in [0.5, 2), rounded correctly: 2·artanh((z − 1)/(z + 1)) in fixed point. */
function naturalLog(z: number): number {
  const fixed = BigInt(z * 2 ** 53) << (BITS - 53n);
  const s = ((fixed - ONE) << BITS) / (fixed + ONE);
  const square = (s * s) >> BITS;
  let power = s;
  let total = 0n;
  for (let odd = 1n; power !== 0n && power !== -1n; odd += 2n) {
    total += power / odd;
    power = (power * square) >> BITS;
  }
  return Number(2n * total) / 2 ** Number(BITS);
}
