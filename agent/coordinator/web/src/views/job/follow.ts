/** A job as it happens. */
import { useEffect, useState } from "preact/hooks";
import { api } from "../../session.ts";
import { after, NOTHING, type Told } from "./told.ts";

/** Follow a job for as long as it runs and the page is there. */
export function useJob(jobId: string): Told {
  const [told, setTold] = useState(NOTHING);
  useEffect(() => {
    const abort = new AbortController();
    setTold(NOTHING);
    void listen(jobId, abort.signal, (change) => setTold(change));
    return () => abort.abort();
  }, [jobId]);
  return told;
}

async function listen(jobId: string, signal: AbortSignal, change: (next: (told: Told) => Told) => void) {
  try {
    for await (const event of api("client").jobs.events(jobId, { signal })) {
      change((told) => after(told, event));
    }
  } catch (error) {
    if (!signal.aborted) change((told) => ({ ...told, error }));
  }
}
