/** The version of this package, sent with every request. */
export const VERSION = "0.3.0";
