/** What verifies receipts, as a script of its own: it needs elliptic curves, and few pages need it. */
export { comparisonSha256, verifyPayout, verifyReceipt } from "@aitbc/client";
