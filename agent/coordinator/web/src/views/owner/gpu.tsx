/** One GPU: its usage and temperature, and whether it accepts jobs. */
import type { MinerGpu } from "@aitbc/client";
import { Card } from "../../components/card.tsx";
import { Button } from "../../components/controls/button.tsx";
import { Badge } from "../../components/figures/status.tsx";
import { size } from "../../format/size.ts";
import { history, used } from "./history.ts";
import { Meter } from "./meter.tsx";
import { endsByHand } from "./pause.tsx";

/** Degrees Celsius at which current GPUs throttle. */
const HOT = 90;
/** Watts of a large GPU, for GPUs that do not report their power limit. */
const LARGE = 450;

export interface GpuCardProps {
  gpu: MinerGpu;
  onPause: () => void;
  onResume: () => Promise<void>;
}

export function GpuCard({ gpu, onPause, onResume }: GpuCardProps) {
  const action = endsByHand(gpu.paused) ? (
    <Button size="small" icon="play" onClick={onResume}>
      Resume this GPU
    </Button>
  ) : (
    <Button size="small" icon="pause" onClick={onPause}>
      Pause this GPU
    </Button>
  );
  return (
    <Card title={gpu.name} note={about(gpu)} object>
      <div class="row" data-between="true">
        {gpu.paused ? (
          <span class="row">
            <Badge tone="wait" icon="pause" word="Paused" />
            {gpu.paused}
          </span>
        ) : (
          <Badge tone="good" icon="check" word="Accepts jobs" />
        )}
        {action}
      </div>
      <Meters gpu={gpu} />
    </Card>
  );
}

function about(gpu: MinerGpu): string {
  return [`GPU ${gpu.index}`, gpu.driver && `driver ${gpu.driver}`].filter(Boolean).join(", ");
}

function Meters({ gpu }: { gpu: MinerGpu }) {
  const before = history(gpu.uuid);
  const memory = used(gpu);
  const limit = gpu.powerLimit ?? LARGE;
  return (
    <div class="meters">
      <Meter
        name="Memory"
        value={memory}
        max={gpu.memoryTotal}
        shown={`${size(memory ?? 0)} of ${size(gpu.memoryTotal ?? 0)}`}
        history={before.map((sample) => sample.used)}
      />
      <Meter
        name="Load"
        value={gpu.utilization}
        max={100}
        shown={`${Math.round(gpu.utilization ?? 0)} %`}
        history={before.map((sample) => sample.utilization)}
      />
      <Meter
        name="Temperature"
        value={gpu.temperature}
        max={HOT}
        shown={`${Math.round(gpu.temperature ?? 0)} °C`}
        history={before.map((sample) => sample.temperature)}
      />
      <Meter
        name="Power"
        value={gpu.power}
        max={limit}
        shown={`${Math.round(gpu.power ?? 0)} W${gpu.powerLimit === null ? "" : ` of ${Math.round(limit)} W`}`}
        history={before.map((sample) => sample.power)}
      />
    </div>
  );
}
