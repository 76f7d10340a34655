/**
 * A measured value out of the most that it can be, with how it went lately.
 *
 *   <Meter name="Memory" value={used} most={total} shown="5.1 of 24 GiB" history={samples.map((sample) => sample.used)} />
 */
import { Spark } from "./spark.tsx";

export interface MeterProps {
  name: string;
  value: number | null;
  most: number | null;
  shown: string;
  history?: (number | null)[];
}

/** Above this share of its most, a value is shown as high. */
const HIGH = 0.9;

export function Meter({ name, value, most, shown, history = [] }: MeterProps) {
  const share = value === null || !most ? null : Math.max(0, Math.min(1, value / most));
  return (
    <div class="meter" data-high={share !== null && share >= HIGH}>
      <span class="meter-name">{name}</span>
      <span class="meter-value">{value === null ? "not known" : shown}</span>
      {share !== null && (
        <>
          {/* biome-ignore lint/a11y/useSemanticElements: browsers draw <meter> each in their own way, and not all let it be styled */}
          <div
            class="meter-track"
            role="meter"
            aria-label={name}
            aria-valuemin={0}
            aria-valuemax={100}
            aria-valuenow={Math.round(share * 100)}
            aria-valuetext={shown}
          >
            <div class="meter-fill" style={{ transform: `scaleX(${share})` }} />
          </div>
          <Spark values={history} most={most ?? 1} />
        </>
      )}
    </div>
  );
}
