/**
 * Shows the result of `useLoad`: a skeleton at first, then the data, or an error. Existing data stays visible during a reload.
 *
 *   const wallet = useLoad((signal) => api("client").wallet.get({ signal }));
 *   <Loaded from={wallet} lines={1} height="5rem">{(wallet) => <Money amount={wallet.balance} />}</Loaded>
 */
import type { ComponentChildren } from "preact";
import type { Loading } from "../load.ts";
import { Failure } from "./notice.tsx";
import { Skeleton } from "./skeleton.tsx";

export interface LoadedProps<T> {
  from: Loading<T>;
  /** The skeleton: its number of lines and their height. */
  lines?: number;
  height?: string;
  children: (data: T) => ComponentChildren;
}

export function Loaded<T>({ from, lines = 4, height, children }: LoadedProps<T>) {
  return (
    <>
      {from.error !== undefined && <Failure error={from.error} retry={from.reload} />}
      {from.data !== undefined
        ? children(from.data)
        : from.error === undefined && <Skeleton lines={lines} height={height} />}
    </>
  );
}
