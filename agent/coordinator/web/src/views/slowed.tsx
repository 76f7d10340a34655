/** Notifies a client that its account is slowed, why, and until when. */
import { Ago } from "../components/figures/time.tsx";
import { Notice } from "../components/notice.tsx";
import { BASE } from "../routes.ts";

export function Slowed({ until }: { until: string | undefined }) {
  if (!until) return null;
  return (
    <Notice tone="wait" title="Few of your jobs run at a time">
      <p>
        Too many of them failed through their own errors. The limit ends <Ago at={until} />, earlier if jobs
        succeed and later if more fail. <a href={`${BASE}/jobs?status=failed`}>The failed jobs</a> say what to
        correct.
      </p>
    </Notice>
  );
}
