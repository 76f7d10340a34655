/** What a client has paid in the last seven days, as a figure. */

import type { Figure } from "../components/figures/figures.tsx";
import { Money } from "../components/figures/money.tsx";
import { plural } from "../format/size.ts";
import { isTransaction, useReload } from "../jobs.ts";
import { useLoad } from "../load.ts";
import { spentInWeek } from "../spending.ts";

export function useSpent(): Figure {
  const { data, reload } = useLoad(spentInWeek);
  useReload("client", reload, isTransaction);
  return {
    name: "Spent in 7 days",
    value: data ? <Money amount={data.amount} /> : "\u2013",
    note: data && `${data.all ? "" : "at least, "}for ${plural(data.jobs, "job")}`,
  };
}
