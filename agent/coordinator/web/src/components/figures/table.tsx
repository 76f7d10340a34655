/**
 * A table that becomes a list of cards on phones.
 *
 *   <Table
 *     caption="Jobs"                                   for screen readers only
 *     rows={jobs}
 *     rowKey={(job) => job.jobId}
 *     href={(job) => `/dashboard/jobs/${job.jobId}`}    the whole row is a link; the first column contains it
 *     columns={[
 *       { title: "Job", cell: (job) => job.name },
 *       { title: "Cost", amount: (job) => job.cost },     money; the currency is in the heading, and decimals align
 *       { title: "Status", cell: (job) => <Status state={job.status} />, shrink: true },
 *     ]}
 *   />
 */
import type { ComponentChildren } from "preact";
import { CURRENCY, decimalsOf, digits, money } from "../../format/money.ts";

export interface Column<Row> {
  title: string;
  cell?: (row: Row) => ComponentChildren;
  /** Instead of `cell`: an amount of money. */
  amount?: (row: Row) => string | undefined;
  /** Amounts have a plus or a minus sign. */
  signed?: boolean;
  align?: "start" | "end";
  /** Only as wide as its content. */
  shrink?: boolean;
  /** Hidden on phones. */
  minor?: boolean;
  /** Give the title to screen readers only, for columns of buttons. */
  hideTitle?: boolean;
}

export interface TableProps<Row> {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  rowKey: (row: Row) => string;
  href?: (row: Row) => string | undefined;
}

/** Explicit because browsers do not treat cards (display: grid) as a table, and screen readers would lose the rows. */
const ROLES = {
  table: { role: "table" },
  rowgroup: { role: "rowgroup" },
  row: { role: "row" },
  columnheader: { role: "columnheader" },
  cell: { role: "cell" },
} as const;

/** The columns with what all kinds of them have: a heading, and the content of a cell. */
function filled<Row>(
  columns: Column<Row>[],
  rows: Row[],
): (Column<Row> & { cell: (row: Row) => ComponentChildren })[] {
  return columns.map(({ cell = () => null, amount, signed = false, ...column }) => {
    if (!amount) return { ...column, cell };
    const decimals = decimalsOf(rows.flatMap((row) => amount(row) ?? []));
    const content = (row: Row) => {
      const value = amount(row);
      return value === undefined ? null : (
        <data class="money" value={value} title={money(value, { signed })}>
          {digits(value, { signed, decimals })}
        </data>
      );
    };
    return { align: "end", shrink: true, ...column, title: `${column.title} (${CURRENCY})`, cell: content };
  });
}

export function Table<Row>({ caption, columns: declared, rows, rowKey, href }: TableProps<Row>) {
  const columns = filled(declared, rows);
  return (
    <div class="table-frame">
      <table class="table" {...ROLES.table}>
        <caption class="visually-hidden">{caption}</caption>
        <thead {...ROLES.rowgroup}>
          <tr {...ROLES.row}>
            {columns.map((column) => (
              <th key={column.title} {...ROLES.columnheader} scope="col" data-align={column.align}>
                <span class={column.hideTitle ? "visually-hidden" : undefined}>{column.title}</span>
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
            data-label={column.hideTitle ? "" : column.title}
            data-lead={index === 0}
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
