import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // One process for all files: each more would load the packages again.
    isolate: false,
    maxWorkers: 1,
    // The time limit catches hangs. On a busy machine, verifying hundreds of receipts takes seconds.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
