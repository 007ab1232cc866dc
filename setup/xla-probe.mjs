/**
 * The smallest graphs that probes run. One is a SavedModel that XLA must compile: y = double(x), double(a) = a + a marked
 * `_XlaMustCompile`.
 * Protocol-buffer fields are written by hand from TensorFlow's public .proto files (numbers in the comments).
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const DT_FLOAT = 1;

const varint = (value) => {
  const bytes = [];
  let rest = value;
  do {
    bytes.push(rest > 0x7f ? (rest & 0x7f) | 0x80 : rest);
    rest >>>= 7;
  } while (rest > 0);
  return Buffer.from(bytes);
};
const bytesField = (number, value) => {
  const body = typeof value === "string" ? Buffer.from(value) : value;
  return Buffer.concat([varint((number << 3) | 2), varint(body.length), body]);
};
const intField = (number, value) => Buffer.concat([varint(number << 3), varint(value)]);
const message = (...fields) => Buffer.concat(fields);
const mapEntry = (number, key, value) => bytesField(number, message(bytesField(1, key), bytesField(2, value)));

// AttrValue: s=2, b=5, type=6, list=1{type=6}, func=10{name=1}
const typeAttr = (type) => intField(6, type);
const boolAttr = (value) => intField(5, value ? 1 : 0);
const typeListAttr = (types) => bytesField(1, message(...types.map((type) => intField(6, type))));
const funcAttr = (name) => bytesField(10, bytesField(1, name));

// NodeDef: name=1, op=2, input=3, attr=5
const node = (name, op, inputs, attrs) =>
  message(
    bytesField(1, name),
    bytesField(2, op),
    ...inputs.map((input) => bytesField(3, input)),
    ...Object.entries(attrs).map(([key, value]) => mapEntry(5, key, value)),
  );
// OpDef.ArgDef: name=1, type=3
const argument = (name) => message(bytesField(1, name), intField(3, DT_FLOAT));

/** A GraphDef of y = x + x. */
export function doublingGraph() {
  return message(
    bytesField(1, node("x", "Placeholder", [], { dtype: typeAttr(DT_FLOAT) })),
    bytesField(1, node("y", "AddV2", ["x", "x"], { T: typeAttr(DT_FLOAT) })),
    bytesField(4, intField(1, 1482)),
  );
}

/** @param {string} directory an existing folder */
export function writeXlaProbe(directory) {
  // FunctionDef: signature=1 (OpDef: name=1, input_arg=2, output_arg=3), node_def=3, ret=4, attr=5
  const double = message(
    bytesField(1, message(bytesField(1, "double"), bytesField(2, argument("a")), bytesField(3, argument("b")))),
    bytesField(3, node("sum", "AddV2", ["a", "a"], { T: typeAttr(DT_FLOAT) })),
    mapEntry(4, "b", "sum:z:0"),
    mapEntry(5, "_XlaMustCompile", boolAttr(true)),
  );
  // GraphDef: node=1, library=2 (FunctionDefLibrary: function=1), versions=4 (producer=1)
  const graph = message(
    bytesField(1, node("x", "Placeholder", [], { dtype: typeAttr(DT_FLOAT) })),
    bytesField(
      1,
      node("y", "StatefulPartitionedCall", ["x"], {
        Tin: typeListAttr([DT_FLOAT]),
        Tout: typeListAttr([DT_FLOAT]),
        f: funcAttr("double"),
        _XlaMustCompile: boolAttr(true),
      }),
    ),
    bytesField(2, bytesField(1, double)),
    bytesField(4, intField(1, 1482)),
  );
  // SavedModel: saved_model_schema_version=1, meta_graphs=2 (MetaGraphDef: meta_info_def=1 {tags=4}, graph_def=2)
  const metaGraph = message(bytesField(1, bytesField(4, "serve")), bytesField(2, graph));
  mkdirSync(join(directory, "variables"), { recursive: true });
  writeFileSync(join(directory, "saved_model.pb"), message(intField(1, 1), bytesField(2, metaGraph)));
}
