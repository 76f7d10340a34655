/** The version of this package, sent with every request. */
export const VERSION = "0.1.0";
