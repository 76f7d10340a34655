/** What a client can do with a job: run it again, with other values or unchanged, cancel it, delete it. */
import type { Job } from "@aitbc/client";
import { useLocation } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import { copy } from "../../components/controls/copyable.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { Menu, type MenuItem } from "../../components/controls/menu.tsx";
import { notify } from "../../components/toast.tsx";
import { reasonsIn } from "../../features/waits/parts.tsx";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";

/** `sealed` jobs cannot run again: the coordinator cannot read their input. */
export function Actions({ job, sealed }: { job: Job; sealed: boolean }) {
  const { route } = useLocation();
  const ended = job.status !== "submitted" && job.status !== "running";
  const form = `${BASE}/new/${job.serviceId}?from=${job.jobId}`;
  const again = async () => {
    const jobId = await rerun(job.jobId);
    if (jobId) route(`${BASE}/jobs/${jobId}`);
  };
  const remove = async () => {
    if (await deleted(job.jobId)) route(`${BASE}/jobs`);
  };
  const items: MenuItem[] = [{ name: "Copy the id", icon: "copy", act: () => copy(job.jobId, "id") }];
  if (!sealed) {
    items.unshift(
      ended
        ? { name: "Run again unchanged", icon: "again", act: again }
        : { name: "Submit another one like it", icon: "again", act: () => route(form) },
    );
  }
  if (ended) items.push({ name: "Delete\u2026", icon: "trash", danger: true, act: remove });
  return (
    <>
      {ended && !sealed && (
        <Button kind="main" icon="again" href={form}>
          Run again
        </Button>
      )}
      {!ended && (
        <Button icon="stop" onClick={() => cancel(job.jobId)}>
          Cancel the job
        </Button>
      )}
      <Menu label="More" items={items} />
    </>
  );
}

async function cancel(jobId: string): Promise<void> {
  const sure = await ask({
    title: "Cancel this job?",
    text: "You pay for what was computed so far. The rest is refunded.",
    action: "Cancel the job",
  });
  if (!sure) return;
  await api("client").jobs.cancel(jobId);
  notify("The job was cancelled.");
}

async function deleted(jobId: string): Promise<boolean> {
  const sure = await ask({
    title: "Delete this job?",
    text: "Its inputs, results and log are deleted, and lists no longer show it. The receipt and the payment stay. This cannot be undone.",
    action: "Delete the job",
  });
  if (!sure) return false;
  await api("client").jobs.deleteData(jobId);
  notify("The job was deleted.");
  return true;
}

/** Submit a job again. If no miner can run it, ask whether it should wait. Returns the new job's id. */
async function rerun(jobId: string): Promise<string | undefined> {
  const { jobs } = api("client");
  try {
    return (await jobs.rerun(jobId)).jobId;
  } catch (error) {
    const reasons = reasonsIn(error);
    if (!reasons) throw error;
    const text = reasons.map(({ message }) => message).join(" ");
    const wait = await ask({
      title: "No miner can run this job",
      text,
      action: "Submit and wait anyway",
      harmless: true,
    });
    return wait ? (await jobs.rerun(jobId, { wait })).jobId : undefined;
  }
}
