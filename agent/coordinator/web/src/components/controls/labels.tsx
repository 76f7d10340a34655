/**
 * A job's labels, each a link to the jobs that have it.
 *
 *   <Labels labels={{ project: "demo" }} />
 */
import { BASE } from "../../routes.ts";

export function Labels({ labels }: { labels: Record<string, string> | undefined }) {
  const entries = Object.entries(labels ?? {});
  if (entries.length === 0) return null;
  return (
    <ul class="labels" aria-label="Labels">
      {entries.map(([key, value]) => (
        <li key={key}>
          <a href={`${BASE}/jobs?label=${encodeURIComponent(`${key}:${value}`)}`}>
            {key}: {value}
          </a>
        </li>
      ))}
    </ul>
  );
}
