/** Follows a running job. */
import { useEffect, useState } from "preact/hooks";
import { api } from "../../session.ts";
import { INITIAL, type JobProgress, reduce } from "./progress.ts";

/** Follow a job until it ends or the component is unmounted. */
export function useJob(jobId: string): JobProgress {
  const [progress, setProgress] = useState(INITIAL);
  useEffect(() => {
    const abort = new AbortController();
    setProgress(INITIAL);
    void listen(jobId, abort.signal, setProgress);
    return () => abort.abort();
  }, [jobId]);
  return progress;
}

type Update = (change: (progress: JobProgress) => JobProgress) => void;

async function listen(jobId: string, signal: AbortSignal, update: Update) {
  try {
    for await (const event of api("client").jobs.events(jobId, { signal })) {
      update((progress) => reduce(progress, event));
    }
  } catch (error) {
    if (!signal.aborted) update((progress) => ({ ...progress, error }));
  }
}
