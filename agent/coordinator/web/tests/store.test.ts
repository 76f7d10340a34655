import { expect, test } from "vitest";
import { Store } from "../src/store.ts";

test("a store notifies its listeners of changes, and of nothing else", () => {
  const store = new Store(1);
  const seen: number[] = [];
  const listen = () => seen.push(store.value);
  store.listeners.add(listen);
  store.value = 2;
  store.value = 2;
  store.value = 3;
  store.listeners.delete(listen);
  store.value = 4;
  expect(seen).toEqual([2, 3]);
});
