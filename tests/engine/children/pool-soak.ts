/** Many short loops on the kernels' pool, as fast as calls come: ends with "ok" unless a worker went astray. */
import { openBackend } from "../../../src/model/engine/backend.js";
import { Compiler } from "../../../src/model/tensor/graph/compile.js";
import { loadKernels } from "../../../src/model/tensor/native/index.js";
import { type Tensor, tf } from "../../../src/model/tensor/tf.js";
import { columnSums, swiGlu } from "../../../src/model/transformer/fused-kernels.js";

await openBackend("tensorflow", 0);
if (!loadKernels().loaded) throw new Error(loadKernels().reason);
const compiler = new Compiler("float32");
const x = tf.ones([64, 96]) as Tensor;
const chain = (own: Tensor) => columnSums(swiGlu(swiGlu(swiGlu(own, own), own), own));
const first = compiler.run("chain", chain, x).dataSync<"float32">()[0];
for (let round = 0; round < 20_000; round += 1) {
  const sums = compiler.run("chain", chain, x);
  if (round % 500 === 0 && sums.dataSync<"float32">()[0] !== first) throw new Error(`round ${round} differs`);
  sums.dispose();
  // A worker falls asleep now and then, so that loops also meet sleeping workers.
  if (round % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
}
process.stdout.write("ok\n");
process.exit(0);
