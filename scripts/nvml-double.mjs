// Builds the NVML double (native/nvml_double) and prints the folder that holds its variants: FOLDER/current/libnvidia-ml.so.1
// is what an agent's path to the library may name.
import { buildNvmlDouble, commonFlags } from './native-build.mjs';

console.log(await buildNvmlDouble(process.env.CXX ?? 'g++', [...commonFlags, '-g1']));
