/** What a client can do with a job: cancel it, run it again, delete it. */
import type { Job } from "@aitbc/client";
import { useLocation } from "preact-iso";
import { Button } from "../../components/controls/button.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { notify } from "../../components/toast.tsx";
import { reasonsIn } from "../../features/waits/parts.tsx";
import { BASE } from "../../routes.ts";
import { api } from "../../session.ts";

/** `sealed` jobs cannot run again: the coordinator cannot read their input. */
export function Actions({ job, sealed }: { job: Job; sealed: boolean }) {
  const ended = job.status !== "submitted" && job.status !== "running";
  return (
    <>
      {ended && !sealed && <RunAgain job={job} />}
      {job.status !== "running" && !sealed && (
        <Button icon="settings" href={`${BASE}/new/${job.serviceId}?from=${job.jobId}`}>
          Run again with changes
        </Button>
      )}
      {ended ? <Delete job={job} /> : <Cancel job={job} />}
    </>
  );
}

function Cancel({ job }: { job: Job }) {
  const cancel = async () => {
    const sure = await ask({
      title: "Cancel this job?",
      text: "You pay for what was computed so far. The rest is refunded.",
      action: "Cancel the job",
    });
    if (!sure) return;
    await api("client").jobs.cancel(job.jobId);
    notify("The job was cancelled.");
  };
  return (
    <Button kind="danger" icon="stop" onClick={cancel}>
      Cancel the job
    </Button>
  );
}

function RunAgain({ job }: { job: Job }) {
  const { route } = useLocation();
  const again = async () => {
    const jobId = await rerun(job.jobId);
    if (jobId) route(`${BASE}/jobs/${jobId}`);
  };
  return (
    <Button icon="again" onClick={again}>
      Run again
    </Button>
  );
}

function Delete({ job }: { job: Job }) {
  const { route } = useLocation();
  const remove = async () => {
    const sure = await ask({
      title: "Delete this job?",
      text: "Its inputs, results and log are deleted, and lists no longer show it. The receipt and the payment stay. This cannot be undone.",
      action: "Delete the job",
    });
    if (!sure) return;
    await api("client").jobs.deleteData(job.jobId);
    notify("The job was deleted.");
    route(`${BASE}/jobs`);
  };
  return (
    <Button kind="danger" icon="trash" onClick={remove}>
      Delete
    </Button>
  );
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
