/**
 * A measured value relative to its maximum, with its recent history.
 *
 *   <Meter name="Memory" value={used} max={total} shown="5.1 of 24 GiB" history={samples.map((sample) => sample.used)} />
 */
import { Spark } from "./spark.tsx";

export interface MeterProps {
  name: string;
  value: number | null;
  max: number | null;
  shown: string;
  history?: (number | null)[];
}

/** From this share of its maximum on, a value is shown as high. */
const HIGH = 0.9;

export function Meter({ name, value, max, shown, history = [] }: MeterProps) {
  const share = value === null || !max ? null : Math.max(0, Math.min(1, value / max));
  return (
    <div class="meter" data-tone={share !== null && share >= HIGH ? "wait" : undefined}>
      <span class="meter-name">{name}</span>
      <span class="meter-value">{value === null ? "unknown" : shown}</span>
      {share !== null && (
        <>
          {/* biome-ignore lint/a11y/useSemanticElements: browsers render <meter> differently, and not all allow styling it */}
          <div
            class="progress-track"
            role="meter"
            aria-label={name}
            aria-valuemin={0}
            aria-valuemax={100}
            aria-valuenow={Math.round(share * 100)}
            aria-valuetext={shown}
          >
            <div class="progress-fill" style={{ transform: `scaleX(${share})` }} />
          </div>
          <Spark values={history} max={max ?? 1} />
        </>
      )}
    </div>
  );
}
