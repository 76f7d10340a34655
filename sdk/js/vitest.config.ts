import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // A time limit is for what hangs: on a machine that does much else, verifying hundreds of receipts takes seconds.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
