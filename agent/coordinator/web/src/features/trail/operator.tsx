/** The trail: what administrators have done, newest first. */
import type { TrailEntry } from "@aitbc/client";
import { Copyable } from "../../components/controls/copyable.tsx";
import { Older } from "../../components/controls/older.tsx";
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

export default function TrailOfAdministrators() {
  const trail = usePolled((signal) => api("admin").admin.trail({ limit: PAGE }, { signal }), SECONDS);
  return (
    <Page
      title="Accounts"
      tabs={ACCOUNTS}
      lead="What administrators have changed, newest first. Nobody can change or delete an entry here."
    >
      <Loaded from={trail} lines={6} height="2.75rem">
        {(page) => (
          <Older
            newest={page}
            read={(before) => api("admin").admin.trail({ limit: PAGE, before })}
            rowsOf={({ entries }) => entries}
          >
            {(entries) => <Trail entries={entries} />}
          </Older>
        )}
      </Loaded>
    </Page>
  );
}

function Trail({ entries }: { entries: TrailEntry[] }) {
  return (
    <Table
      caption="Trail"
      empty={<Empty icon="log" title="No administrator has changed anything yet" />}
      rows={entries}
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
