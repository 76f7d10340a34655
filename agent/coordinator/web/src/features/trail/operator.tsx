/** The trail: what administrators have done, newest first. */
import type { TrailEntry, TrailPage } from "@aitbc/client";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Older, useOlder } from "../../components/controls/older.tsx";
import { Empty } from "../../components/empty.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { sentence, shortId } from "../../format/names.ts";
import { entered, subjectOf } from "../../format/trail.ts";
import { usePolled } from "../../poll.ts";
import { ACCOUNTS, BASE } from "../../routes.ts";
import { api } from "../../session.ts";

const SECONDS = 15;
const PAGE = 50;

export default function Trail() {
  const trail = usePolled(
    (signal) => api("admin").admin.trail({ limit: PAGE }, { signal }),
    () => SECONDS,
  );
  return (
    <Page
      title="Accounts"
      tabs={ACCOUNTS}
      lead="What administrators have changed, newest first. Nobody can change or delete an entry here."
    >
      <Loaded from={trail} lines={6} height="2.75rem">
        {(page) => <List page={page} />}
      </Loaded>
    </Page>
  );
}

function List({ page }: { page: TrailPage }) {
  const list = useOlder(
    page,
    (before) => api("admin").admin.trail({ limit: PAGE, before }),
    ({ entries }) => entries,
  );
  if (list.rows.length === 0) {
    return <Empty icon="log" title="No administrator has changed anything yet" />;
  }
  return (
    <>
      <Table
        caption="Trail"
        rows={list.rows}
        rowKey={({ entryId }) => entryId}
        columns={[
          { title: "What", cell: ({ action }) => sentence(action) },
          { title: "Of", cell: (entry) => <Subject entry={entry} /> },
          { title: "With", cell: ({ details }) => entered(details) },
          {
            title: "Who",
            cell: ({ keyName, keyId }) => <span title={keyId}>{keyName}</span>,
            shrink: true,
            first: true,
          },
          { title: "When", cell: ({ at }) => <Ago at={at} />, shrink: true, align: "end", named: false },
        ]}
      />
      <Older list={list} />
    </>
  );
}

/** What was changed, with a link where it has a page. */
function Subject({ entry: { path } }: { entry: TrailEntry }) {
  const subject = subjectOf(path);
  if (!subject) return null;
  const { id, page } = subject;
  if (!page) return <Copyable text={id} shown={shortId(id)} noun="id" />;
  return (
    <a href={`${BASE}/network/${page}/${id}`} title={id}>
      {shortId(id)}
    </a>
  );
}
