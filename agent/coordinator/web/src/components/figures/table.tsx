/**
 * A table. On phones, each row has two lines: the first cell and the state, then all others.
 *
 *   <Table
 *     caption="Jobs"                                   for screen readers only
 *     rows={jobs}
 *     rowKey={(job) => job.jobId}
 *     href={(job) => `/dashboard/jobs/${job.jobId}`}    the whole row is a link; the first column contains it
 *     columns={[
 *       { title: "Job", cell: (job) => job.name },
 *       { title: "Cost", amount: (job) => job.cost },     money; the currency is in the heading
 *       { title: "Status", cell: (job) => <Status state={job.status} />, shrink: true },
 *     ]}
 *   />
 */
import type { ComponentChildren } from "preact";
import { CURRENCY } from "../../format/money.ts";
import { Money } from "./money.tsx";

export interface Column<Row> {
  title: string;
  cell?: (row: Row) => ComponentChildren;
  /** Instead of `cell`: an amount of money. */
  amount?: (row: Row) => string | undefined;
  /** Instead of `cell`: a button; the title is for screen readers only. */
  action?: (row: Row) => ComponentChildren;
  /** Amounts have a plus or a minus sign. */
  signed?: boolean;
  align?: "start" | "end";
  /** Only as wide as its content. */
  shrink?: boolean;
  /** In the first line on phones, like an action; usual for a column that is called Status. */
  first?: boolean;
  /** With its title on phones; usual for amounts, and for what is aligned like figures. */
  named?: boolean;
  /** Hidden on phones. */
  minor?: boolean;
}

export interface TableProps<Row> {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string;
  href?: (row: Row) => string | undefined;
  /** Shown instead of a table without rows. */
  empty?: ComponentChildren;
}

/** Explicit because browsers do not treat cards (display: grid) as a table, and screen readers would lose the rows. */
const ROLES = {
  table: { role: "table" },
  rowgroup: { role: "rowgroup" },
  row: { role: "row" },
  columnheader: { role: "columnheader" },
  cell: { role: "cell" },
} as const;

interface Filled<Row> extends Column<Row> {
  cell: (row: Row) => ComponentChildren;
  /** The unit of its figures, which the heading names, and on phones each cell. */
  unit?: string;
}

/** The columns with what all kinds of them have: a heading, and the content of a cell. */
function filled<Row>(columns: Column<Row>[]): Filled<Row>[] {
  return columns.map(({ cell = () => null, amount, signed = false, ...column }) => {
    if (column.action) return { align: "end", shrink: true, first: true, ...column, cell: column.action };
    if (!amount) return { ...column, cell };
    const content = (row: Row) => {
      const value = amount(row);
      return value === undefined ? null : <Money amount={value} signed={signed} bare />;
    };
    return {
      align: "end",
      shrink: true,
      ...column,
      unit: CURRENCY,
      cell: content,
    };
  });
}

export function Table<Row>({ caption, columns: declared, rows, rowKey, href, empty }: TableProps<Row>) {
  if (rows.length === 0 && empty) return <>{empty}</>;
  const columns = filled(declared);
  return (
    <div class="table-frame">
      <table class="table" {...ROLES.table}>
        <caption class="visually-hidden">{caption}</caption>
        <thead {...ROLES.rowgroup}>
          <tr {...ROLES.row}>
            {columns.map((column) => (
              <th key={column.title} {...ROLES.columnheader} scope="col" data-align={column.align}>
                <span class={column.action ? "visually-hidden" : undefined}>
                  {column.title}
                  {column.unit && ` (${column.unit})`}
                </span>
              </th>
            ))}
          </tr>
        </thead>
        <tbody {...ROLES.rowgroup}>
          {rows.map((row) => (
            <Row key={rowKey(row)} row={row} columns={columns} href={href?.(row)} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface RowProps<Row> {
  row: Row;
  columns: ReturnType<typeof filled<Row>>;
  href: string | undefined;
}

function Row<Row>({ row, columns, href }: RowProps<Row>) {
  return (
    <tr {...ROLES.row} data-link={href !== undefined}>
      {columns.map((column, index) => {
        const inside = column.cell(row);
        return (
          <td
            key={column.title}
            {...ROLES.cell}
            data-label={column.title}
            data-first={column.first ?? column.title === "Status"}
            data-named={column.named ?? (column.align === "end" && !column.action)}
            data-unit={inside === null ? undefined : column.unit}
            data-align={column.align}
            data-shrink={column.shrink}
            data-minor={column.minor}
          >
            {index === 0 && href !== undefined ? (
              <a class="row-link" href={href}>
                {inside}
              </a>
            ) : (
              inside
            )}
          </td>
        );
      })}
    </tr>
  );
}
