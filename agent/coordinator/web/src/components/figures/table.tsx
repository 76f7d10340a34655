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
 *       { title: "Cost", cell: (job) => <Money amount={job.amount} />, align: "end" },
 *       { title: "Status", cell: (job) => <Status state={job.status} />, shrink: true },
 *     ]}
 *   />
 */
import type { ComponentChildren } from "preact";

export interface Column<Row> {
  title: string;
  cell: (row: Row) => ComponentChildren;
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

export function Table<Row>({ caption, columns, rows, rowKey, href }: TableProps<Row>) {
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

function Row<Row>({ row, columns, href }: { row: Row; columns: Column<Row>[]; href: string | undefined }) {
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
