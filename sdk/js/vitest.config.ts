import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // The time limit catches hangs. On a busy machine, verifying hundreds of receipts takes seconds.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
