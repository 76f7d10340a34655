/** Client of AITBC: the package's public names. */

export { VERSION } from "./version.js";
