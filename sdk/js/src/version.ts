/** The version of this package, sent with every request. */
export const VERSION = "0.2.0";
