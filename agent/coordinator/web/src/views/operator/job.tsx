/** One job of any account, for the operator: its state and the reasons for it, without its content. */
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Copyable } from "../../components/controls/copyable.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { Facts } from "../../components/figures/figures.tsx";
import { Money } from "../../components/figures/money.tsx";
import { Ago } from "../../components/figures/time.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Notice } from "../../components/notice.tsx";
import { Page } from "../../components/page.tsx";
import { notify } from "../../components/toast.tsx";
import { inFormWords } from "../../errors.ts";
import { Reasons } from "../../features/waits/parts.tsx";
import { jobTitle } from "../../format/jobs.ts";
import { useLive } from "../../live.ts";
import { useLoad } from "../../load.ts";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";
import { FactLine } from "../job/facts.tsx";

export default function OperatorJob() {
  const { id = "" } = useRoute().params;
  const found = useLoad(
    async (signal) => {
      const { jobs } = api("admin");
      const [job, why] = await Promise.all([jobs.get(id, { signal }), jobs.explain(id, { signal })]);
      return { job, why };
    },
    [id],
  );
  useLive("admin", (event) => {
    if (event.type === "resync" || (event.type === "job_update" && event.data.jobId === id)) found.reload();
  });
  const job = found.data?.job;
  const cancel = async () => {
    const text = "Its account pays for the work that was done. This cannot be undone.";
    if (!(await ask({ title: "Cancel this job?", text, action: "Cancel job" }))) return;
    await api("admin").jobs.cancel(id);
    found.reload();
    notify("The job was cancelled.");
  };
  return (
    <Page
      title={job ? jobTitle(job) : "Job"}
      lead={job && <FactLine job={job} by="admin" />}
      back={{ href: `${BASE}/network/jobs`, name: "Jobs" }}
      actions={
        job && ["submitted", "running"].includes(job.status) && <Button onClick={cancel}>Cancel job</Button>
      }
    >
      <Loaded from={found} lines={5} height="3rem">
        {({ job, why }) => (
          <div class="stack">
            {job.error && (
              <Notice tone="bad" title="The job failed">
                <p>{job.error.message}</p>
                <p class="small">{job.error.code}</p>
              </Notice>
            )}
            {job.status === "submitted" && (
              <Notice tone="wait" title={inFormWords(why.summary)}>
                <Reasons reasons={why.reasons} title={why.summary} client="Its account" />
              </Notice>
            )}
            <Card title="Details">
              <Facts
                items={[
                  ["Id", <Copyable key="id" text={job.jobId} noun="job id" />],
                  ["Account", job.accountId && <Copyable text={job.accountId} noun="account id" />],
                  [
                    "Miner",
                    job.minerId && <a href={`${BASE}/network/miners/${job.minerId}`}>{job.minerId}</a>,
                  ],
                  ["Attempts", job.attempts > 0 && `${job.attempts} of at most ${job.maxAttempts}`],
                  ["Cost", job.cost && <Money amount={job.cost} />],
                  ["Submitted", <Ago key="submitted" at={job.createdAt} />],
                  ["Started", job.startedAt && <Ago at={job.startedAt} />],
                  ["Completed", job.completedAt && <Ago at={job.completedAt} />],
                  ["Failed", job.failedAt && <Ago at={job.failedAt} />],
                  ["Cancelled", job.cancelledAt && <Ago at={job.cancelledAt} />],
                ]}
              />
            </Card>
          </div>
        )}
      </Loaded>
    </Page>
  );
}
