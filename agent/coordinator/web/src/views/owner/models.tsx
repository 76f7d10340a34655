/** A machine's services, why others are unavailable, and its models. */
import type { MinerDetails, MinerService } from "@aitbc/client";
import { useRoute } from "preact-iso";
import { Card } from "../../components/card.tsx";
import { Coded } from "../../components/coded.tsx";
import { ask } from "../../components/controls/dialog.tsx";
import { SelectField } from "../../components/controls/field.tsx";
import { type FieldProps, FormButton } from "../../components/controls/form-dialog.tsx";
import { Menu } from "../../components/controls/menu.tsx";
import { Empty } from "../../components/empty.tsx";
import { Price } from "../../components/figures/money.tsx";
import { Progress } from "../../components/figures/progress.tsx";
import { Badge } from "../../components/figures/status.tsx";
import { Table } from "../../components/figures/table.tsx";
import { Loaded } from "../../components/loaded.tsx";
import { Page } from "../../components/page.tsx";
import { serviceName } from "../../format/names.ts";
import { plural, size } from "../../format/size.ts";
import { useLoad } from "../../load.ts";
import { api, publicApi } from "../../session.ts";
import "../../styles/machine.css";
import { Settings } from "./settings.tsx";
import { useMachine, type Watched } from "./watch.ts";

export default function Models() {
  const machine = useMachine("miner", useRoute().query.id);
  return (
    <Page
      title="Services"
      lead="What this machine offers to clients, at which price, and what the other services lack."
      actions={machine.data && <Fetch machine={machine.data} send={machine.send} />}
    >
      <Loaded from={machine} lines={4} height="8rem">
        {(data) =>
          data ? (
            <>
              <Services machine={data} />
              <ModelList machine={data} send={machine.send} />
              <Settings machine={data} by="miner" />
            </>
          ) : (
            <Empty icon="model" title="No machine belongs to this key" />
          )
        }
      </Loaded>
    </Page>
  );
}

/** A service that the machine offers, or the reasons for which it does not. */
interface Line {
  serviceId: string;
  offered?: MinerService;
  reasons: string[];
}

function Services({ machine }: { machine: MinerDetails }) {
  const lines: Line[] = [
    ...machine.services.map((offered) => ({ serviceId: offered.serviceId, offered, reasons: [] })),
    ...Object.entries(machine.unavailable).map(([serviceId, reasons]) => ({ serviceId, reasons })),
  ];
  return (
    <Table
      caption="Services"
      rows={lines}
      rowKey={({ serviceId }) => serviceId}
      columns={[
        { title: "Service", cell: (line) => <Service line={line} /> },
        { title: "Models", cell: ({ offered }) => offered && ready(offered) },
        {
          title: "Price",
          cell: ({ offered }) => offered && <Price unitPrice={offered.unitPrice} of={offered} />,
        },
        {
          title: "At a time",
          cell: ({ offered }) => offered && plural(offered.concurrency, "job"),
          align: "end",
          minor: true,
        },
        { title: "Speed", cell: ({ offered }) => offered && speed(offered), align: "end", minor: true },
        {
          title: "Status",
          cell: ({ offered }) =>
            offered ? (
              <Badge tone="good" icon="check" word="On" />
            ) : (
              <Badge tone="still" icon="dash" word="Off" />
            ),
          shrink: true,
        },
      ]}
    />
  );
}

function Service({ line: { serviceId, reasons } }: { line: Line }) {
  return (
    <div>
      {serviceName(serviceId)}
      {reasons.map((reason) => (
        <p class="small quiet" key={reason}>
          <Coded text={reason} />
        </p>
      ))}
    </div>
  );
}

function speed(service: MinerService) {
  if (!service.score) return <span class="quiet">not measured</span>;
  return `${service.score.value.toLocaleString("en", { maximumFractionDigits: 1 })} ${service.score.metric}`;
}

function ready({ models, unavailableModels }: MinerService): string | null {
  if (models.length === 0) return null;
  const count = models.filter((model) => !unavailableModels.includes(model)).length;
  return count === models.length
    ? plural(count, "model")
    : `${count} of ${plural(models.length, "model")} ready`;
}

interface ModelRow {
  name: string;
  services: string[];
  loaded: boolean;
  unavailable: boolean;
  onDisk: boolean;
  done?: number;
  total?: number | null;
}

/** Return all models that the machine reports, sorted by name. */
function rowsOf(machine: MinerDetails): ModelRow[] {
  const rows = new Map<string, ModelRow>();
  const row = (name: string) => {
    const known = rows.get(name);
    if (known) return known;
    const made: ModelRow = { name, services: [], loaded: false, unavailable: false, onDisk: false };
    rows.set(name, made);
    return made;
  };
  for (const service of machine.services) {
    for (const name of service.models) {
      const model = row(name);
      model.onDisk = true;
      model.services.push(service.serviceId);
      model.loaded ||= service.loaded.includes(name);
      model.unavailable ||= service.unavailableModels.includes(name);
    }
  }
  for (const { model, done, total } of machine.downloads) Object.assign(row(model), { done, total });
  return [...rows.values()].sort((one, other) => one.name.localeCompare(other.name));
}

type Sending = Pick<Watched, "send">;

function ModelList({ machine, send }: { machine: MinerDetails } & Sending) {
  const rows = rowsOf(machine);
  const remove = async (model: string) => {
    const text = "The machine deletes it from its disk as soon as no job uses it. You can download it again.";
    if (!(await ask({ title: `Remove ${model}?`, text, action: "Remove" }))) return;
    await send((id) => api("miner").miners.removeModel(id, model), `Removal of ${model} requested.`);
  };
  return (
    <Card title="Models" note={`${size(machine.diskFree)} of disk space free`}>
      <Table
        caption="Models"
        empty={
          <Empty icon="model" title="No models on this machine">
            Language models, image generation and transcription need models; the other services do not.
          </Empty>
        }
        rows={rows}
        rowKey={(model) => model.name}
        columns={[
          { title: "Model", cell: (model) => model.name },
          { title: "Services", cell: (model) => model.services.map(serviceName).join(", ") },
          { title: "Status", cell: (model) => <ModelState model={model} /> },
          {
            title: "Actions",
            action: (model) =>
              model.onDisk && (
                <Menu
                  brief
                  label={`Actions for ${model.name}`}
                  items={[
                    { name: "Remove\u2026", icon: "trash", danger: true, act: () => remove(model.name) },
                  ]}
                />
              ),
          },
        ]}
      />
    </Card>
  );
}

function ModelState({ model }: { model: ModelRow }) {
  if (model.done !== undefined && !model.onDisk) {
    const percent = model.total ? (model.done / model.total) * 100 : null;
    return (
      <div class="stack">
        <Progress label={`Download of ${model.name}`} value={percent} tone="busy" />
        <span class="quiet small">
          {size(model.done)} {model.total ? `of ${size(model.total)}` : "so far"}
        </span>
      </div>
    );
  }
  if (model.unavailable) {
    return <Badge tone="wait" icon="wait" word="Unavailable" />;
  }
  return model.loaded ? (
    <Badge tone="good" icon="check" word="In memory" />
  ) : (
    <Badge tone="still" icon="dash" word="On disk" />
  );
}

function Fetch({ machine, send }: { machine: MinerDetails } & Sending) {
  const requestDownload = (model: string) =>
    send((id) => api("miner").miners.fetchModel(id, model), `Download of ${model} requested.`);
  return (
    <FormButton
      title="Download a model"
      action="Download"
      kind="normal"
      icon="download"
      initial={{ model: "" }}
      ready={({ model }) => model !== ""}
      onSend={({ model }) => requestDownload(model)}
    >
      {(field) => <Catalogue machine={machine} {...field("model")} />}
    </FormButton>
  );
}

/** The models that the machine could download. */
function Catalogue({ machine, ...field }: { machine: MinerDetails } & FieldProps<string>) {
  const services = machine.services.filter((service) => service.downloadable);
  const catalogue = useLoad(
    (signal) =>
      Promise.all(services.map(({ serviceId }) => publicApi().registry.service(serviceId, { signal }))),
    [services.map((service) => service.serviceId).join(" ")],
  );
  const here = new Set(rowsOf(machine).map((row) => row.name));
  const options = (catalogue.data ?? []).flatMap((service) =>
    [...service.models, ...service.adapters]
      .filter((name) => !here.has(name))
      .map((name) => ({ value: name, label: `${name} (${serviceName(service.serviceId)})` })),
  );
  return (
    <Loaded from={catalogue}>
      {() =>
        options.length > 0 ? (
          <SelectField
            label="Model"
            quiet
            {...field}
            options={[{ value: "", label: "Choose one" }, ...options]}
            help="aitbc-agent models list shows their sizes and licences."
          />
        ) : (
          <NoDownloads forbidden={services.length === 0} />
        )
      }
    </Loaded>
  );
}

function NoDownloads({ forbidden }: { forbidden: boolean }) {
  return forbidden ? (
    <p class="quiet">
      This machine downloads no models, because its settings forbid it (<code>runners.model_download</code>)
      or none of its services needs any.
    </p>
  ) : (
    <p class="quiet">
      The machine has all models of the catalogue. To add others, run <code>aitbc-agent models add</code> on
      the machine.
    </p>
  );
}
