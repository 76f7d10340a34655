/**
 * A progress bar.
 *
 *   <Progress label="Upload" value={40} />          percent
 *   <Progress label="Loading" value={null} />       unknown
 */
import type { Tone } from "./status.tsx";

export function Progress({ label, value, tone }: { label: string; value: number | null; tone?: Tone }) {
  const percent = value === null ? null : Math.max(0, Math.min(100, Math.round(value)));
  return (
    <div class="progress" data-tone={tone}>
      <div
        class="progress-track"
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={percent ?? undefined}
      >
        <div
          class="progress-fill"
          data-endless={percent === null}
          style={percent === null ? undefined : { transform: `scaleX(${percent / 100})` }}
        />
      </div>
      {percent !== null && (
        <span class="progress-number" aria-hidden="true">
          {percent} %
        </span>
      )}
    </div>
  );
}
