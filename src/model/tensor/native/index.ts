/** The native TensorFlow engine: where it is and how it is loaded. */
export {
  type FunctionsAddon,
  type FunctionsState,
  functionsState,
  type KernelsState,
  loadKernels,
  loadNativeTf,
  locateNative,
  type NativeBinding,
  type NativeLocation,
  type NativeOptions,
  type NativeTf,
  nativeBinding,
  packageRoot,
  packageVersion,
  weirCommand,
} from "./native.js";
export { isTensorflowNoise } from "./noise.js";
